# Messages and services of the tree proto/, compiled once each.

find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)

add_custom_target(generated COMMENT "Everything that is generated") # for those who only read

# add_ds_proto(<name> PROTOS <system>/v1/a.proto …): the library `<name>`, of messages and services.
# Their headers are included as "proto/<system>/v1/a.grpc.pb.h", in .cc files only. The generated
# code has no warnings of ours, and no UBSan, which would double the time it takes to compile.
function(add_ds_proto name)
  cmake_parse_arguments(ARG "" "" "PROTOS" ${ARGN})
  set(generated ${CMAKE_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${generated})
  set(sources)
  foreach(proto IN LISTS ARG_PROTOS)
    string(REGEX REPLACE "[.]proto$" "" stem proto/${proto})
    set(outputs)
    foreach(suffix .pb.h .pb.cc .grpc.pb.h .grpc.pb.cc)
      list(APPEND outputs ${generated}/${stem}${suffix})
    endforeach()
    add_custom_command(
      OUTPUT ${outputs}
      COMMAND protobuf::protoc --cpp_out=${generated} --grpc_out=${generated}
              --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>
              -I ${CMAKE_SOURCE_DIR} proto/${proto}
      WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
      DEPENDS ${CMAKE_SOURCE_DIR}/proto/${proto}
      COMMENT "Generating from proto/${proto}"
      VERBATIM)
    list(APPEND sources ${outputs})
  endforeach()
  add_library(${name} STATIC ${sources})
  add_custom_target(${name}_generated DEPENDS ${sources})
  add_dependencies(generated ${name}_generated)
  target_include_directories(${name} SYSTEM PUBLIC ${generated})
  target_link_libraries(${name} PUBLIC gRPC::grpc++ protobuf::libprotobuf)
  if(DS_SANITIZE MATCHES "undefined")
    target_compile_options(${name} PRIVATE -fno-sanitize=undefined)
  endif()
endfunction()
