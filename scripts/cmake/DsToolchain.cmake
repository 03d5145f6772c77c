# Language level, warnings, sanitizers, compiler cache and linker, in one place.
# Nothing here is global but the output folder, sanitizers (they must reach every object) and the
# launcher; warnings travel with the INTERFACE target ds_warnings, so generated code can go without.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
# Release keeps line tables: a crash report without them is of no use. NDEBUG is not set anywhere:
# no behaviour depends on the build type.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_C_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g1")

set(DS_SANITIZE "" CACHE STRING "Sanitizers, comma separated: address,undefined or thread")
option(DS_FUZZ "Build the fuzz targets with libFuzzer (needs clang)" OFF)
option(DS_WERROR "Treat warnings as errors" "$ENV{CI}")

if(DS_SANITIZE)
  add_compile_options(-fsanitize=${DS_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${DS_SANITIZE})
  if(DS_SANITIZE MATCHES "undefined")
    # This check opens a pipe to probe memory, and reports a good object as bad in a process that has
    # no descriptor left, which is just what some tests are about.
    add_compile_options(-fno-sanitize=vptr)
  endif()
endif()
if(DS_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_library(ds_warnings INTERFACE)
target_compile_options(
  ds_warnings
  INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
            -Wold-style-cast -Woverloaded-virtual -Wcast-align -Wunused -Wimplicit-fallthrough
            $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
            $<$<BOOL:${DS_WERROR}>:-Werror>)

# ccache: a fresh clone at another path must hit, so paths below base_dir are made relative and the
# working folder does not enter the hash. Set here rather than in the user's ccache.conf.
find_program(DS_CCACHE ccache)
if(DS_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # The compiler sees one fixed name for the source tree, so that debug information is equal too.
  add_compile_options(-ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
  set(launcher
      "${CMAKE_COMMAND};-E;env;CCACHE_BASEDIR=${CMAKE_SOURCE_DIR};CCACHE_NOHASHDIR=1;${DS_CCACHE}")
  set(CMAKE_C_COMPILER_LAUNCHER "${launcher}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${launcher}")
endif()

find_program(DS_MOLD mold)
if(DS_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

find_package(Threads REQUIRED)
