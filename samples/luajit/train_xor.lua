-- Learns XOR from LuaJIT with nothing but the shared library and its headers: the C compiler preprocesses them, ffi.cdef
-- takes the text as it is.
--
--   luajit train_xor.lua [path of libmillrace.so]
local ffi = require("ffi")

local here = arg[0]:match("^(.*)/[^/]*$") or "."
local headers = here .. "/../../api/include"
local pipe = assert(io.popen("cc -E -P -DMILL_PARSE -I '" .. headers .. "' '" .. headers .. "/millrace/millrace.h'"))
ffi.cdef(pipe:read("*a"))
pipe:close()
local mill = ffi.load(arg[1] or os.getenv("MILL_LIBRARY") or "millrace")
local C = ffi.C -- the headers' constants

-- Calls that give a handle: make("mill_tape", release, function(out, err) ... end) returns it, released when collected.
local slot = ffi.new("mill_error*[1]")
assert(mill.mill_error_create(slot) == 0)
local err = ffi.gc(slot[0], mill.mill_error_release)

local function check(status)
  if status < 0 then error(ffi.string(mill.mill_error_message(err)), 2) end
  return status
end

local function make(kind, create)
  local out = ffi.new(kind .. "*[1]")
  check(create(out, err))
  return ffi.gc(out[0], mill[kind .. "_release"])
end

local context = make("mill_context", function(out, e) return mill.mill_context_create(nil, out, e) end)
local exec = make("mill_exec", function(out, e) return mill.mill_exec_create(context, 0, nil, out, e) end)
local generator = make("mill_generator", function(out, e) return mill.mill_generator_create(exec, 1, out, e) end)
check(mill.mill_exec_set_generator(exec, generator, err))

local function tensor(values, rows, columns)
  local data, dims = ffi.new("float[?]", #values, values), ffi.new("int64_t[2]", rows, columns)
  return make("mill_tensor", function(out, e)
    return mill.mill_tensor_from_host(exec, C.MILL_F32, dims, 2, data, ffi.sizeof(data), out, e)
  end)
end

local x = tensor({ 0, 0, 0, 1, 1, 0, 1, 1 }, 4, 2)
local target = tensor({ 0, 1, 1, 0 }, 4, 1)

local group = make("mill_group", function(out, e) return mill.mill_group_create(context, C.MILL_F32, out, e) end)
local shapes = { { "w1", 2, 8 }, { "b1", 1, 8 }, { "w2", 8, 1 }, { "b2", 1, 1 } }
for _, s in ipairs(shapes) do
  check(mill.mill_group_add(group, s[1], ffi.new("int64_t[2]", s[2], s[3]), 2, nil, err))
end
check(mill.mill_group_build(group, exec, err))
local p = {}
for i, s in ipairs(shapes) do
  p[s[1]] = make("mill_tensor", function(out, e) return mill.mill_group_param(group, i - 1, out, e) end)
  if s[1]:sub(1, 1) == "w" then check(mill.mill_group_init(group, exec, i - 1, C.MILL_INIT_XAVIER, 1, err)) end
end

local adamw = make("mill_optimizer", function(out, e)
  return mill.mill_optimizer_create_adamw(exec, group, 0.05, 0.9, 0.999, 1e-8, 0, out, e)
end)
local tape = make("mill_tape", function(out, e) return mill.mill_tape_create(context, out, e) end)
check(mill.mill_exec_set_tape(exec, tape, err))

-- An op by its C name: the output is a new tensor, which the scope around the step releases.
local function op(name, ...)
  local out, n, args = ffi.new("mill_tensor*[1]"), select("#", ...), { ... }
  args[n + 1], args[n + 2] = out, err
  check(mill["mill_" .. name](exec, unpack(args, 1, n + 2)))
  return out[0]
end

local product = ffi.new("mill_tensor*[1]")
local function matmul(a, b)
  product[0] = nil -- NULL: the library makes the output
  check(mill.mill_matmul(exec, a, b, product, err))
  return product[0]
end

local value, y = ffi.new("double[1]"), ffi.new("float[4]")
for step = 1, 400 do
  check(mill.mill_scope_begin(exec, err))
  local hidden = op("tanh", op("add", matmul(x, p.w1), p.b1))
  local out = op("add", matmul(hidden, p.w2), p.b2)
  local off = op("sub", out, target)
  local loss = op("mean", op("mul", off, off), nil, 0, 0)
  check(mill.mill_tape_backward(tape, exec, loss, nil, 0, err))
  check(mill.mill_optimizer_step(adamw, exec, err))
  check(mill.mill_tensor_item(exec, loss, value, err))
  check(mill.mill_tensor_read(exec, out, y, ffi.sizeof(y), err))
  check(mill.mill_scope_end(exec, err))
  if step % 100 == 0 then print(("step %d  loss %.6f"):format(step, value[0])) end
end
for i, name in ipairs({ "0 xor 0", "0 xor 1", "1 xor 0", "1 xor 1" }) do
  print(("%s = %d"):format(name, math.floor(y[i - 1] + 0.5)))
end
os.exit(value[0] < 1e-3 and 0 or 1, true)
