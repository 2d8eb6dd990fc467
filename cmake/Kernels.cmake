# The kernels layer: one file an instruction set, each with its own flags, and threads from the OpenMP library that LibTorch itself uses. Its
# files need no precompiled header, whose flags would differ.

linformer_layer(kernels USES linformer::core)
target_link_libraries(linformer_kernels PUBLIC $<BUILD_INTERFACE:linformer::torch>)

# A file whose name ends in the name of an instruction set is built for that one. Such a file must leave no function that the linker could give
# to another file: nothing of the standard library's templates, everything in an unnamed namespace (tests/python/test_layers.py looks).
set(flags_of_portable "")
set(flags_of_avx2 -mavx2 -mfma)
set(flags_of_avx512 -mavx512f -mavx512bw -mavx512dq -mprefer-vector-width=512)
set(flags_of_avx512_bf16 ${flags_of_avx512} -mavx512vl -mavx512bf16)
set(kernel_flags -O3 -ffp-contract=fast)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(kernel_flags -O1 -ffp-contract=fast)
endif()
get_target_property(kernel_sources linformer_kernels SOURCES)
foreach(source IN LISTS kernel_sources)
  if(source MATCHES "_(portable|avx2|avx512|avx512_bf16)[.]cpp$")
    set(instruction_set "${CMAKE_MATCH_1}")
    set(flags ${kernel_flags})
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
      list(APPEND flags ${flags_of_${instruction_set}})
    endif()
    set_source_files_properties("${source}" PROPERTIES COMPILE_OPTIONS "${flags}")
  endif()
endforeach()

if(LibTorch_OPENMP)
  target_compile_definitions(linformer_kernels PRIVATE LINFORMER_OPENMP)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(linformer_kernels PRIVATE -fopenmp)  # of clang's, see src/kernels/openmp.hpp
  endif()
else()
  message(WARNING "No OpenMP library beside LibTorch: the kernels will run on one thread.")
endif()
