# Finds the parts of LibTorch that this project needs: the headers, c10 and torch_cpu.
#
# PyTorch's own TorchConfig.cmake is not used, because with a CUDA wheel it demands a CUDA toolkit at build
# time. Here a CUDA wheel is just another folder with the same two libraries; its CUDA libraries are loaded at run
# time, where they are present (see nn/device.hpp).
#
#   TORCH_DIR     the `torch` folder of a Python environment, or an unpacked LibTorch. The environment variable of this name, where it holds
#                 one, takes the place of what an earlier configuration remembered.
#
# Defines LibTorch_FOUND, LibTorch_VERSION, LibTorch_LIBRARY_DIR and the target linformer::torch.

set(_torch_help "The torch folder of a Python environment, or an unpacked LibTorch")
if(NOT "$ENV{TORCH_DIR}" STREQUAL "")
  set(TORCH_DIR "$ENV{TORCH_DIR}" CACHE PATH "${_torch_help}" FORCE)
else()
  set(TORCH_DIR "" CACHE PATH "${_torch_help}")
endif()
option(LINFORMER_ANY_TORCH "Try a LibTorch version that nobody has tried yet" OFF)
set(_torch_tried 2.13 2.14)

set(_torch_candidates "${TORCH_DIR}")
file(GLOB _torch_venv "${CMAKE_CURRENT_LIST_DIR}/../.venv/lib/python3*/site-packages/torch")
list(APPEND _torch_candidates ${_torch_venv})
set(_torch_root "")
foreach(candidate IN LISTS _torch_candidates)
  if(candidate AND EXISTS "${candidate}/include/ATen/core/Tensor.h")
    set(_torch_root "${candidate}")
    break()
  elseif(candidate AND candidate STREQUAL "${TORCH_DIR}")
    message(FATAL_ERROR "TORCH_DIR=${TORCH_DIR} has no include/ATen/core/Tensor.h. "
      "Expected the `torch` folder of a Python environment (…/site-packages/torch) or an unpacked LibTorch.")
  endif()
endforeach()

if(_torch_root)
  file(STRINGS "${_torch_root}/include/torch/headeronly/version.h" _torch_version_lines
    REGEX "#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ")
  foreach(part MAJOR MINOR PATCH)
    string(REGEX MATCH "TORCH_VERSION_${part} ([0-9]+)" _ "${_torch_version_lines}")
    set(_torch_${part} "${CMAKE_MATCH_1}")
  endforeach()
  set(LibTorch_VERSION "${_torch_MAJOR}.${_torch_MINOR}.${_torch_PATCH}")
  set(LibTorch_LIBRARY_DIR "${_torch_root}/lib")
  if(NOT "${_torch_MAJOR}.${_torch_MINOR}" IN_LIST _torch_tried AND NOT LINFORMER_ANY_TORCH)
    message(FATAL_ERROR "LibTorch ${LibTorch_VERSION} in ${_torch_root}: expected one of ${_torch_tried}. "
      "Install torch==2.13.0, name another folder with TORCH_DIR=…, or try this one with -DLINFORMER_ANY_TORCH=ON.")
  endif()
  find_library(LibTorch_c10 c10 PATHS "${LibTorch_LIBRARY_DIR}" NO_DEFAULT_PATH NO_CACHE)
  find_library(LibTorch_cpu torch_cpu PATHS "${LibTorch_LIBRARY_DIR}" NO_DEFAULT_PATH NO_CACHE)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS _torch_root LibTorch_c10 LibTorch_cpu VERSION_VAR LibTorch_VERSION
  REASON_FAILURE_MESSAGE "no LibTorch found. Run `make setup`, or name one with TORCH_DIR=…/site-packages/torch.")

if(LibTorch_FOUND AND NOT TARGET linformer::torch)
  add_library(linformer::torch INTERFACE IMPORTED)
  target_include_directories(linformer::torch SYSTEM INTERFACE
    "${_torch_root}/include" "${_torch_root}/include/torch/csrc/api/include")
  target_link_libraries(linformer::torch INTERFACE "${LibTorch_cpu}" "${LibTorch_c10}")
  # The OpenMP library that LibTorch carries: own kernels must share its threads.
  file(GLOB LibTorch_OPENMP "${LibTorch_LIBRARY_DIR}/libgomp*.so*" "${_torch_root}/../torch.libs/libgomp*.so*")
  if(LibTorch_OPENMP)
    list(GET LibTorch_OPENMP 0 LibTorch_OPENMP)
    target_link_libraries(linformer::torch INTERFACE "${LibTorch_OPENMP}")
  endif()

  # One small program shows whether this compiler and this LibTorch agree on std::string (the C++ ABI).
  include(CMakePushCheckState)
  include(CheckCXXSourceCompiles)
  cmake_push_check_state(RESET)
  set(CMAKE_REQUIRED_LIBRARIES linformer::torch)
  set(CMAKE_REQUIRED_FLAGS "-std=c++20")
  check_cxx_source_compiles("#include <c10/util/Backtrace.h>
    int main() { return static_cast<int>(c10::get_backtrace(0, 1, true).size()) < 0; }"
    LibTorch_ABI_AGREES_${LibTorch_VERSION})
  cmake_pop_check_state()
  if(NOT LibTorch_ABI_AGREES_${LibTorch_VERSION})
    message(FATAL_ERROR "LibTorch ${LibTorch_VERSION} in ${_torch_root} and the compiler ${CMAKE_CXX_COMPILER} "
      "don't link: they differ in C++ ABI or standard library. Use GCC 11 or later with its default ABI (no "
      "-D_GLIBCXX_USE_CXX11_ABI=0), or name another LibTorch with TORCH_DIR=….")
  endif()
endif()
