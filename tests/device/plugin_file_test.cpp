// Files that are no plugins, plugins of another age, and files that lie about themselves: all of it
// is found out without running anything of the file.
#include "device/plugin_file.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "io/temp_dir.h"
#include "millrace/plugin.h"

namespace mill {
namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
constexpr uint16_t kForeign = EM_AARCH64;
#else
constexpr uint16_t kMachine = EM_AARCH64;
constexpr uint16_t kForeign = EM_X86_64;
#endif

template <class T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// One ELF note; sizes are as given, whatever the texts are.
std::string note(const std::string& name, const std::string& desc, uint32_t type,
                 uint32_t name_bytes, uint32_t desc_bytes) {
  std::string out = bytes_of(Elf64_Nhdr{name_bytes, desc_bytes, type});
  out += name + std::string((4 - name.size() % 4) % 4, '\0');
  return out + desc + std::string((4 - desc.size() % 4) % 4, '\0');
}

std::string plugin_note(uint32_t abi, uint32_t oldest_host) {
  const uint32_t desc[4] = {abi, oldest_host, 0, 0};
  return note(std::string("Millrace\0\0\0", 12), bytes_of(desc), MILL_PLUGIN_NOTE_TYPE, 12, 16);
}

// The parts of a shared library that are looked at: a header, a segment that loads the file, one of
// notes.
struct Image {
  Elf64_Ehdr head{};
  Elf64_Phdr load{};
  Elf64_Phdr notes{};
  std::string text = plugin_note(MILL_PLUGIN_ABI, 1);

  Image() {
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_ident[EI_DATA] = ELFDATA2LSB;
    head.e_ident[EI_VERSION] = EV_CURRENT;
    head.e_type = ET_DYN;
    head.e_machine = kMachine;
    head.e_phoff = sizeof head;
    head.e_phentsize = sizeof load;
    head.e_phnum = 2;
    load.p_type = PT_LOAD;
    notes.p_type = PT_NOTE;
    notes.p_offset = sizeof head + 2 * sizeof load;
    fit();
  }
  // Sizes for the text as it is now.
  void fit() {
    notes.p_filesz = notes.p_memsz = text.size();
    load.p_filesz = load.p_memsz = notes.p_offset + text.size();
  }
  std::string bytes() const { return bytes_of(head) + bytes_of(load) + bytes_of(notes) + text; }
};

class PluginFile : public testing::Test {
 protected:
  const std::string& write(const std::string& bytes) {
    write_bytes(path_, bytes);
    return path_;
  }
  void refused(const std::string& bytes, mill_status status, std::vector<std::string> parts) {
    write(bytes);
    parts.push_back(path_);
    expect_failure(status, parts, [&] { read_plugin_note(path_); });
  }
  // Changes one thing of a good image.
  template <class Change>
  void refused_with(mill_status status, const std::vector<std::string>& parts, Change&& change) {
    Image image;
    change(image);
    refused(image.bytes(), status, parts);
  }

  TempDir dir_;
  const std::string path_ = dir_ / "libmillrace_x.so";
};

TEST_F(PluginFile, AGoodOneSaysItsAges) {
  Image image;
  image.text = plugin_note(MILL_PLUGIN_ABI, MILL_PLUGIN_ABI);
  image.fit();
  const PluginNote found = read_plugin_note(write(image.bytes()));
  EXPECT_EQ(found.abi, static_cast<uint32_t>(MILL_PLUGIN_ABI));
  EXPECT_EQ(found.oldest_host, static_cast<uint32_t>(MILL_PLUGIN_ABI));
}

TEST_F(PluginFile, ANewerOneThatWorksWithThisLibraryIsTaken) {
  Image image;
  image.text = plugin_note(MILL_PLUGIN_ABI + 7, MILL_PLUGIN_ABI);
  image.fit();
  EXPECT_EQ(read_plugin_note(write(image.bytes())).abi, MILL_PLUGIN_ABI + 7u);
}

TEST_F(PluginFile, WhatIsNoFileIsSaidToBeNone) {
  expect_failure(MILL_E_IO, {"nowhere.so", "No such file"},
                 [&] { read_plugin_note(dir_ / "nowhere.so"); });
  expect_failure(MILL_E_IO, {dir_.path(), "no file"}, [&] { read_plugin_note(dir_.path()); });
  expect_failure(MILL_E_IO, {"/dev/null", "no file"}, [&] { read_plugin_note("/dev/null"); });
  ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);
  expect_failure(MILL_E_IO, {"pipe", "no file"}, [&] { read_plugin_note(dir_ / "pipe"); });
  expect_failure(MILL_E_IO, {}, [&] { read_plugin_note(""); });
  expect_failure(MILL_E_IO, {}, [&] { read_plugin_note(std::string(10000, 'x')); });
}

TEST_F(PluginFile, OtherFilesAreNoSharedLibraries) {
  refused("", MILL_E_FORMAT, {"0 bytes", "64"});
  refused(
      "\x7f"
      "ELF",
      MILL_E_FORMAT, {"4 bytes"});
  refused(std::string(200, 'x'), MILL_E_FORMAT, {"no shared library"});
  refused(std::string(200, '\0'), MILL_E_FORMAT, {"no shared library"});
  refused("/* GNU ld script */\nINPUT(libelsewhere.so)\n" + std::string(100, ' '), MILL_E_FORMAT,
          {"no shared library"});
  for (const int type : {ET_NONE, ET_REL, ET_EXEC, ET_CORE}) {
    refused_with(MILL_E_FORMAT, {"no shared library"},
                 [&](Image& i) { i.head.e_type = static_cast<uint16_t>(type); });
  }
}

TEST_F(PluginFile, OfAnotherMachineIsNamed) {
  const std::string own = std::to_string(kMachine);
  refused_with(MILL_E_UNSUPPORTED, {std::to_string(kForeign), own},
               [](Image& i) { i.head.e_machine = kForeign; });
  refused_with(MILL_E_UNSUPPORTED, {own}, [](Image& i) { i.head.e_ident[EI_CLASS] = ELFCLASS32; });
}

TEST_F(PluginFile, OfAnotherAgeSaysBothAges) {
  const std::string own = std::to_string(MILL_PLUGIN_ABI);
  refused_with(MILL_E_UNSUPPORTED, {"ABI 0", own}, [](Image& i) { i.text = plugin_note(0, 1); });
  refused_with(MILL_E_TOO_NEW, {"ABI " + std::to_string(MILL_PLUGIN_ABI + 1), own},
               [](Image& i) { i.text = plugin_note(MILL_PLUGIN_ABI + 1, MILL_PLUGIN_ABI + 1); });
  refused_with(MILL_E_TOO_NEW, {"4294967295", own},
               [](Image& i) { i.text = plugin_note(MILL_PLUGIN_ABI, UINT32_MAX); });
}

TEST_F(PluginFile, WithoutTheNoteIsNoPlugin) {
  const std::vector<std::string> says = {"no note"};
  refused_with(MILL_E_UNSUPPORTED, says, [](Image& i) { i.notes.p_type = PT_NULL; });
  refused_with(MILL_E_UNSUPPORTED, says, [](Image& i) { i.notes.p_filesz = 0; });
  refused_with(MILL_E_UNSUPPORTED, says, [](Image& i) {
    i.text = note(std::string("GNU", 4), std::string(20, 'b'), NT_GNU_BUILD_ID, 4, 20);
    i.fit();
  });
  // The right name and another type, the right type and another name, a name that goes on.
  refused_with(MILL_E_UNSUPPORTED, says, [](Image& i) { i.text[8] ^= 1; });
  refused_with(MILL_E_UNSUPPORTED, says, [](Image& i) { i.text[12] = 'm'; });
  refused_with(MILL_E_UNSUPPORTED, says, [](Image& i) { i.text[20] = '2'; });
}

TEST_F(PluginFile, TheNoteIsFoundBehindOthers) {
  Image image;
  image.text = note(std::string("GNU", 4), std::string(20, 'b'), NT_GNU_BUILD_ID, 4, 20) +
               note("", "", 0, 0, 0) + note("x", "yz", 5, 1, 2) + plugin_note(MILL_PLUGIN_ABI, 1);
  image.fit();
  EXPECT_EQ(read_plugin_note(write(image.bytes())).oldest_host, 1u);
}

TEST_F(PluginFile, NoteSizesThatOverflowReachNowhere) {
  for (const uint32_t bytes : {28u, 29u, 1000u, 0x7fffffffu, 0x80000000u, 0xfffffff0u, 0xfffffffcu,
                               0xfffffffdu, 0xffffffffu}) {
    for (const bool in_name : {true, false}) {
      Image image;
      image.text = note(std::string("Millrace\0\0\0", 12), std::string(16, '\1'),
                        MILL_PLUGIN_NOTE_TYPE, in_name ? bytes : 12, in_name ? 16 : bytes) +
                   plugin_note(MILL_PLUGIN_ABI, 1);
      image.fit();
      // What such a note covers may hold anything, so that nothing behind it can be believed.
      if (!in_name && bytes < image.text.size()) continue;
      refused(image.bytes(), MILL_E_UNSUPPORTED, {"no note"});
    }
  }
  // A description too short for the two ages.
  for (const uint32_t bytes : {0u, 1u, 4u, 7u}) {
    Image image;
    image.text = note(std::string("Millrace\0\0\0", 12), std::string(bytes, '\1'),
                      MILL_PLUGIN_NOTE_TYPE, 12, bytes);
    image.fit();
    refused(image.bytes(), MILL_E_UNSUPPORTED, {"no note"});
  }
  // Cut off at every byte of the segment.
  for (size_t n = 0; n < Image().text.size(); ++n) {
    Image image;
    image.text.resize(n);
    image.fit();
    refused(image.bytes(), MILL_E_UNSUPPORTED, {"no note"});
  }
}

TEST_F(PluginFile, ProgramHeadersMustLieInTheFile) {
  for (const uint64_t offset : {uint64_t{1} << 20, uint64_t{1} << 63, UINT64_MAX - 100, UINT64_MAX})
    refused_with(MILL_E_FORMAT, {"truncated"}, [&](Image& i) { i.head.e_phoff = offset; });
  refused_with(MILL_E_FORMAT, {"truncated"}, [](Image& i) { i.head.e_phnum = 256; });
  for (const uint16_t count : {uint16_t{0}, uint16_t{257}, uint16_t{0xffff}}) {
    refused_with(MILL_E_FORMAT, {std::to_string(count) + " program headers"},
                 [&](Image& i) { i.head.e_phnum = count; });
  }
  for (const int size : {0, 1, 32, 55, 57, 0xffff}) {
    refused_with(MILL_E_FORMAT, {std::to_string(size) + " bytes"},
                 [&](Image& i) { i.head.e_phentsize = static_cast<uint16_t>(size); });
  }
}

TEST_F(PluginFile, SegmentsMustLieInTheFile) {
  const uint64_t whole = Image().bytes().size();
  for (const uint64_t far : {whole + 1, uint64_t{1} << 40, UINT64_MAX}) {
    refused_with(MILL_E_FORMAT, {"truncated"}, [&](Image& i) { i.load.p_filesz = far; });
    refused_with(MILL_E_FORMAT, {"truncated"}, [&](Image& i) { i.load.p_offset = far; });
    refused_with(MILL_E_FORMAT, {"truncated"}, [&](Image& i) { i.notes.p_filesz = far; });
    refused_with(MILL_E_FORMAT, {"truncated"}, [&](Image& i) { i.notes.p_offset = far; });
  }
  refused_with(MILL_E_FORMAT, {"in memory"}, [](Image& i) { i.load.p_memsz = 1; });
  refused_with(MILL_E_FORMAT, {"in memory"}, [](Image& i) { i.load.p_vaddr = UINT64_MAX - 8; });
  refused_with(MILL_E_FORMAT, {"nothing to load"}, [](Image& i) { i.load.p_type = PT_NULL; });
  // Notes of a size that no plugin has are not read.
  Image image;
  image.text += std::string(2 << 20, '\0');
  image.fit();
  refused(image.bytes(), MILL_E_UNSUPPORTED, {"no note"});
}

// Where the last of the segments ends: behind it, only tools for developers look.
uint64_t needed(const std::string& bytes) {
  Elf64_Ehdr head;
  std::memcpy(&head, bytes.data(), sizeof head);
  uint64_t end = head.e_phoff + head.e_phnum * sizeof(Elf64_Phdr);
  for (size_t k = 0; k < head.e_phnum; ++k) {
    Elf64_Phdr segment;
    std::memcpy(&segment, bytes.data() + head.e_phoff + k * sizeof segment, sizeof segment);
    end = std::max(end, segment.p_offset + segment.p_filesz);
  }
  return end;
}

TEST_F(PluginFile, ARealOneIsReadAndNoPartOfItTakenForTheWhole) {
  const std::string whole = read_bytes(MILL_TEST_PLUGINS "/faulty.so");
  ASSERT_GT(whole.size(), 4096u);
  EXPECT_EQ(read_plugin_note(write(whole)).abi, static_cast<uint32_t>(MILL_PLUGIN_ABI));
  const uint64_t least = needed(whole);
  ASSERT_GT(least, whole.size() / 4);
  ASSERT_LE(least, whole.size());
  std::vector<uint64_t> lengths = {least - 1};
  for (uint64_t k = 0; k < 64; ++k) lengths.push_back(k * whole.size() / 64);
  for (const uint64_t n : lengths) {
    if (n < least) {
      refused(whole.substr(0, n), MILL_E_FORMAT, {"truncated"});
    } else {
      EXPECT_EQ(read_plugin_note(write(whole.substr(0, n))).oldest_host, 1u) << n;
    }
  }
}

TEST_F(PluginFile, FlippedBytesOfTheHeadersNeverCrash) {
  const std::string good = Image().bytes();
  for (size_t at = 0; at < good.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string bytes = good;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      try {
        read_plugin_note(write(bytes));
      } catch (const Error& error) {
        EXPECT_TRUE(error.status() == MILL_E_FORMAT || error.status() == MILL_E_UNSUPPORTED ||
                    error.status() == MILL_E_TOO_NEW)
            << at << ": " << error.text();
        EXPECT_NE(error.text()[0], 0);
      }
    }
  }
}

}  // namespace
}  // namespace mill
