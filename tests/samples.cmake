# Short runs of the samples, on data that is made on the spot. Those in other languages find the library by MILL_LIBRARY,
# by an argument, or by the loader's own search.
set(sample_environment ${test_environment})
if(TARGET millrace)
  list(APPEND sample_environment "LD_LIBRARY_PATH=$<TARGET_FILE_DIR:millrace>")
endif()

# mill_add_sample_test(name target command...): target, which may be "", is what the command needs built.
function(mill_add_sample_test name target)
  if(target)
    if(NOT TARGET ${target})
      return()
    endif()
    mill_label(${target} sample)
  endif()
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
  set_tests_properties(${name} PROPERTIES LABELS sample TIMEOUT ${test_timeout} SKIP_RETURN_CODE 77
                       ENVIRONMENT "${sample_environment}")
endfunction()

set(samples "${PROJECT_SOURCE_DIR}/samples")
set(digits ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/samples/digits.sh")
mill_add_sample_test(sample_xor sample_xor sample_xor)
if(TARGET millrace_mirror)
  mill_add_sample_test(sample_use_mirror sample_use_mirror sample_use_mirror $<TARGET_FILE:millrace_mirror>)
endif()
mill_add_sample_test(sample_char_mlp sample_char_mlp ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/samples/char_mlp.sh"
                     $<TARGET_FILE:sample_char_mlp> "${PROJECT_SOURCE_DIR}/docs/ops.md")
mill_add_sample_test(sample_char_gpt sample_char_gpt ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/samples/char_gpt.sh"
                     $<TARGET_FILE:sample_char_gpt> "${PROJECT_SOURCE_DIR}/docs/ops.md")
if(TARGET sample_overlap AND TARGET millrace_sim)
  mill_add_sample_test(sample_char_gpt_sim sample_char_gpt ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/samples/char_gpt_sim.sh"
                       $<TARGET_FILE:sample_char_gpt> "${PROJECT_SOURCE_DIR}/docs/ops.md")
  mill_add_sample_test(sample_char_mlp_sim sample_char_mlp ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/samples/char_mlp_sim.sh"
                       $<TARGET_FILE:sample_char_mlp> "${PROJECT_SOURCE_DIR}/docs/ops.md")
  mill_add_sample_test(sample_train_mnist_sim sample_train_mnist ${digits} --csv $<TARGET_FILE:sample_train_mnist>
                       --autocast bf16 --workers 2 --device sim:rtx4090,gemm=1)
  mill_add_sample_test(sample_cnn_mnist_sim sample_cnn_mnist ${digits} --data $<TARGET_FILE:sample_cnn_mnist>
                       --channels 4 --hidden 32 --epochs 4 --batch 32 --rate 1e-2 --device sim:rtx4090,gemm=1)
  mill_add_sample_test(sample_resnet18_sim sample_resnet18 ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/samples/resnet18.sh"
                       $<TARGET_FILE:sample_resnet18> --device sim:rtx4090,gemm=1)
  mill_add_sample_test(sample_lstm_sunspots_sim sample_lstm_sunspots ${MILL_SH}
                       "${CMAKE_CURRENT_SOURCE_DIR}/samples/lstm_sunspots.sh" $<TARGET_FILE:sample_lstm_sunspots>
                       --device sim:rtx4090,gemm=1)
  # Modelled time: the same on every machine.
  mill_add_sample_test(sample_overlap sample_overlap sample_overlap --steps 12 --batch 256)
  set_tests_properties(sample_overlap PROPERTIES PASS_REGULAR_EXPRESSION
    "one after the other[^\n]*\\([-+]0\\.[^\n]*\n  overlapped[^\n]*\\([-+]0\\.[^\n]*\n\n9[5-9]\\.[0-9] %")
  # Each planted fault is found first, and its fix saves what was predicted, within 10 %.
  if(TARGET sample_transfer_bottleneck AND TARGET millrace_profiler)
    add_dependencies(sample_transfer_bottleneck millrace_profiler millrace_sim)
    mill_add_sample_test(sample_transfer_bottleneck sample_transfer_bottleneck sample_transfer_bottleneck --steps 12)
    # The longest under a sanitizer: nothing runs beside it if it comes last.
    set_tests_properties(sample_transfer_bottleneck PROPERTIES COST 300 PASS_REGULAR_EXPRESSION
      "found first    T1:.*measured[^\n]*saved: [-+][0-9]\\.[0-9] %.*found first    T7:.*measured[^\n]*saved: [-+][0-9]\\.[0-9] %.*found first    T6:.*measured[^\n]*saved: [-+][0-9]\\.[0-9] %")
  endif()
endif()
mill_add_sample_test(sample_train_mnist sample_train_mnist ${digits} --data $<TARGET_FILE:sample_train_mnist>)
mill_add_sample_test(sample_cnn_mnist sample_cnn_mnist ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/samples/cnn_mnist.sh"
                     $<TARGET_FILE:sample_cnn_mnist>)
mill_add_sample_test(sample_resnet18 sample_resnet18 ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/samples/resnet18.sh"
                     $<TARGET_FILE:sample_resnet18>)
mill_add_sample_test(sample_lstm_sunspots sample_lstm_sunspots ${MILL_SH}
                     "${CMAKE_CURRENT_SOURCE_DIR}/samples/lstm_sunspots.sh" $<TARGET_FILE:sample_lstm_sunspots>)
mill_add_sample_test(sample_train_mnist_csv sample_train_mnist ${digits} --csv $<TARGET_FILE:sample_train_mnist>)
mill_add_sample_test(sample_train_mnist_f16 sample_train_mnist ${digits} --csv $<TARGET_FILE:sample_train_mnist>
                     --autocast f16 --workers 3)
mill_add_sample_test(sample_train_mnist_cpp sample_train_mnist_cpp ${digits} plain
                     $<TARGET_FILE:sample_train_mnist_cpp>)

# A sanitizer's runtime must be loaded first, which an interpreter not built with it does not do.
if(TARGET millrace AND NOT MILL_SANITIZE)
  mill_add_sample_test(sample_python_train_mnist millrace ${digits} --data python3 -B
                       "${samples}/python/train_mnist_ctypes.py" --library $<TARGET_FILE:millrace>)
  mill_add_sample_test(sample_luajit_train_xor millrace ${MILL_SH} "${CMAKE_CURRENT_SOURCE_DIR}/gates/script.sh" luajit
                       "${samples}/luajit/train_xor.lua" $<TARGET_FILE:millrace>)
endif()
