# Configures the project in SOURCE afresh in BINARY, with the generator and the compiler of the tree
# itself. ERROR empty: that must succeed. Otherwise it must fail with ERROR in what it prints.
foreach(variable SOURCE BINARY GENERATOR COMPILER DS_TARGETS)
  if(NOT ${variable})
    message(FATAL_ERROR "configure_test.cmake: -D${variable}=… is missing")
  endif()
endforeach()

file(REMOVE_RECURSE "${BINARY}")
execute_process(
  COMMAND ${CMAKE_COMMAND} -S "${SOURCE}" -B "${BINARY}" -G "${GENERATOR}"
          "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DDS_TARGETS=${DS_TARGETS}"
  RESULT_VARIABLE result
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)
# CMake breaks the lines of a message as it likes.
string(REGEX REPLACE "[ \n]+" " " output_line "${output}")
string(FIND "${output_line}" "${ERROR}" found)

if(ERROR STREQUAL "")
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "configure ${SOURCE}: failed (${result}):\n${output}")
  endif()
elseif(result EQUAL 0)
  message(FATAL_ERROR "configure ${SOURCE}: succeeded, expected \"${ERROR}\":\n${output}")
elseif(found EQUAL -1)
  message(FATAL_ERROR "configure ${SOURCE}: failed without saying \"${ERROR}\":\n${output}")
endif()
