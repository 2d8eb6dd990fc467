# linformer_layer(NAME [TORCH] USES library…): the static library of one layer, from src/NAME and include/linformer/NAME.
#
# TORCH: the layer uses LibTorch and shares one precompiled header of it, since parsing LibTorch costs more than everything else.

set(LINFORMER_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Werror)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND LINFORMER_WARNINGS -Wno-stringop-overflow -Wno-array-bounds -Wno-restrict)  # these warn wrongly about std::string in GCC 12
else()
  list(APPEND LINFORMER_WARNINGS -Wno-deprecated-declarations)  # clang warns of libstdc++'s own, in std::stable_sort
endif()
if(LINFORMER_SANITIZE)
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()
if(LINFORMER_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options("SHELL:-Xclang -fno-pch-timestamp")  # of precompiled headers, so that a compiler's cache finds them again
endif()

# Presets compile several sources of a layer as one (CMAKE_UNITY_BUILD): LibTorch's headers leave templates to be made at the end of each compilation,
# which takes seconds that a precompiled header does not save. The preset `dev`, for who edits one file all day, does not.

# The one precompiled header of LibTorch; every TORCH target reuses it.
add_library(torch_pch OBJECT "${CMAKE_CURRENT_SOURCE_DIR}/cmake/empty.cpp")
target_link_libraries(torch_pch PRIVATE linformer::torch nlohmann_json::nlohmann_json)
target_precompile_headers(torch_pch PRIVATE
  <ATen/ATen.h> <torch/csrc/autograd/custom_function.h> <nlohmann/json.hpp>
  <algorithm> <array> <cmath> <cstdint> <filesystem> <functional> <map> <memory> <optional> <span> <string> <vector>)
target_compile_options(torch_pch PRIVATE ${LINFORMER_WARNINGS})  # a precompiled header serves only the same flags

function(linformer_uses_torch target)
  target_link_libraries(${target} PUBLIC linformer::torch)
  target_precompile_headers(${target} REUSE_FROM torch_pch)
  # An executable would get -fPIE, which does not match the precompiled header.
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE -fPIC)
endfunction()

function(linformer_layer name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TORCH" "" "USES")
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/src/${name}/*.cpp"
    "${CMAKE_CURRENT_SOURCE_DIR}/src/${name}/*/*.cpp")
  if(NOT sources)
    message(FATAL_ERROR "src/${name} holds no source")
  endif()
  set(target linformer_${name})
  add_library(${target} STATIC ${sources})
  add_library(linformer::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(${target} PUBLIC
    "$<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:include>"
    PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/src")
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE ${LINFORMER_WARNINGS})
  target_link_libraries(${target} PUBLIC ${arg_USES})
  if(arg_TORCH)
    linformer_uses_torch(${target})
  endif()
endfunction()
