# Runs nvcc on one file: cmake -DNVCC= -DSOURCE= -DNAME= -DOUT= -DFLAGS=a|b|c -P compile.cmake. Leaves NAME.o, NAME.d,
# NAME.report and NAME.ptx in OUT. What the compiler says is shown only if it fails: ptxas reports every kernel.
string(REPLACE "|" ";" flags "${FLAGS}")
set(keep "${OUT}/${NAME}.keep")
file(REMOVE_RECURSE "${keep}")
file(MAKE_DIRECTORY "${keep}")
execute_process(
  COMMAND "${NVCC}" ${flags} --keep --keep-dir "${keep}" -MD -MF "${OUT}/${NAME}.d" -MT "${OUT}/${NAME}.o"
          -c "${SOURCE}" -o "${OUT}/${NAME}.o"
  RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
file(WRITE "${OUT}/${NAME}.report" "${text}")
if(status EQUAL 0 AND EXISTS "${keep}/${NAME}.ptx")
  file(RENAME "${keep}/${NAME}.ptx" "${OUT}/${NAME}.ptx")
endif()
file(REMOVE_RECURSE "${keep}")
if(NOT status EQUAL 0)
  file(REMOVE "${OUT}/${NAME}.o")
  message(FATAL_ERROR "${text}")
endif()
# Warnings would drown in the report.
string(REGEX MATCHALL "[^\n]*warning[^\n]*\n" warnings "${text}")
if(warnings)
  message(NOTICE "${warnings}")
endif()
