# The kinds of target this repository has. A folder is a target: getfile/core is `getfile_core`,
# known to others as `getfile::core`.

# add_ds_library(<system>_<folder> SOURCES a.cc … [DEPS target …])
function(add_ds_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  if(ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "add_ds_library(${name}): unknown argument '${ARG_UNPARSED_ARGUMENTS}'")
  endif()
  string(REGEX REPLACE "_([^_]+)$" "::\\1" alias ${name})
  add_library(${name} STATIC ${ARG_SOURCES})
  add_library(${alias} ALIAS ${name})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_DEPS} PRIVATE ds_warnings)
endfunction()

# add_core_library(<system>_core SOURCES a.cc … [DEPS target …])
# A core is deterministic and does no I/O. What it links is the first guard of that: only
# common::base and other cores are let in, at configure time.
function(add_core_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  foreach(dep IN LISTS ARG_DEPS)
    if(NOT dep STREQUAL "common::base" AND NOT dep MATCHES "^[a-z_]+::core$")
      message(
        FATAL_ERROR
          "add_core_library(${name}): a core may depend only on common::base and other cores, "
          "not on '${dep}'. Move what needs it into the shell (server/ or client/).")
    endif()
  endforeach()
  add_ds_library(${name} ${ARGN})
  set_property(GLOBAL APPEND PROPERTY DS_CORES ${name})
endfunction()

# At the end of the configuration: nobody gave a core another library behind add_core_library().
function(check_core_libraries)
  get_property(cores GLOBAL PROPERTY DS_CORES)
  foreach(core IN LISTS cores)
    get_target_property(libraries ${core} LINK_LIBRARIES)
    foreach(library IN LISTS libraries)
      if(NOT library MATCHES "^(common::base|ds_warnings|[a-z_]+::core)$")
        message(FATAL_ERROR "${core}: a core may depend only on common::base and other cores, not "
                            "on '${library}' (given by target_link_libraries).")
      endif()
    endforeach()
  endforeach()
endfunction()

# add_ds_program(<program-name> SOURCES main.cc DEPS target …): lands in <build>/bin, is installed.
function(add_ds_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} ds_warnings)
  install(TARGETS ${name} RUNTIME)
  set_property(GLOBAL APPEND PROPERTY DS_PROGRAMS ${name})
endfunction()

# What tests, and the programs that they start, find in their environment.
set(DS_TEST_ENVIRONMENT
    "DS_BIN_DIR=${CMAKE_BINARY_DIR}/bin;DS_SOURCE_DIR=${CMAKE_SOURCE_DIR};\
TSAN_OPTIONS=ignore_noninstrumented_modules=1 halt_on_error=1 \
suppressions=${CMAKE_SOURCE_DIR}/scripts/cmake/tsan_suppressions.txt;\
UBSAN_OPTIONS=print_stacktrace=1;ASAN_OPTIONS=detect_stack_use_after_return=1")

# add_ds_test(<name> LABEL unit|sim|integration SOURCES a_test.cc … DEPS target … [TIMEOUT seconds]
#             [PROGRAMS program …] [SERIAL] [SLOW])
# Integration tests name the PROGRAMS they start and link none of the product's code.
function(add_ds_test name)
  cmake_parse_arguments(ARG "SERIAL;SLOW" "LABEL;TIMEOUT" "SOURCES;DEPS;PROGRAMS" ${ARGN})
  # A simulation has one thread: with the race detector it would only cost time.
  if(ARG_LABEL STREQUAL "sim" AND DS_SANITIZE MATCHES "thread")
    return()
  endif()
  if(ARG_SLOW AND DS_SANITIZE) # minutes there, and others run the same code
    return()
  endif()
  if(ARG_LABEL STREQUAL "integration")
    foreach(dep IN LISTS ARG_DEPS)
      if(dep MATCHES "::(core|server|client)$")
        message(FATAL_ERROR "add_ds_test(${name}): an integration test talks to the built "
                            "executables only and may not link '${dep}'.")
      endif()
    endforeach()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  if(DS_SANITIZE)  # longer than the deadlines inside the tests, which grow too
    math(EXPR ARG_TIMEOUT "${ARG_TIMEOUT} * 5")
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main ds_warnings)
  if(ARG_PROGRAMS)
    add_dependencies(${name} ${ARG_PROGRAMS})
  endif()
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(
    ${name}
    PROPERTIES LABELS "${ARG_LABEL}"
               TIMEOUT ${ARG_TIMEOUT}
               RUN_SERIAL ${ARG_SERIAL}
               ENVIRONMENT "${DS_TEST_ENVIRONMENT}")
endfunction()
