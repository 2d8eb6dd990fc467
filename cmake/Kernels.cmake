# The kernels layer: one file an instruction set, each with its own flags, and threads from the OpenMP library that LibTorch itself uses. Its
# files need no precompiled header, whose flags would differ.

linformer_layer(kernels USES linformer::core)
target_link_libraries(linformer_kernels PUBLIC $<BUILD_INTERFACE:linformer::torch>)

set(LINFORMER_KERNEL_FLAGS -O3 -ffp-contract=fast)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(LINFORMER_KERNEL_FLAGS -O1 -ffp-contract=fast)
endif()
set_source_files_properties(src/kernels/kernels_portable.cpp PROPERTIES COMPILE_OPTIONS "${LINFORMER_KERNEL_FLAGS}")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(src/kernels/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS "${LINFORMER_KERNEL_FLAGS};-mavx2;-mfma")
  set_source_files_properties(src/kernels/kernels_avx512.cpp PROPERTIES
    COMPILE_OPTIONS "${LINFORMER_KERNEL_FLAGS};-mavx512f;-mavx512dq;-mprefer-vector-width=512")
  set_source_files_properties(src/kernels/kernels_avx512_bf16.cpp PROPERTIES
    COMPILE_OPTIONS "${LINFORMER_KERNEL_FLAGS};-mavx512f;-mavx512dq;-mavx512bw;-mavx512vl;-mavx512bf16;-mprefer-vector-width=512")
endif()

# at::parallel_for is a template that is serial in code built without OpenMP.
if(LibTorch_OPENMP)
  set_source_files_properties(src/kernels/attend.cpp src/kernels/cross_entropy.cpp src/kernels/engine_threads.cpp src/kernels/gelu.cpp
    src/kernels/layer_norm.cpp PROPERTIES COMPILE_OPTIONS "-fopenmp")
else()
  message(WARNING "No OpenMP library beside LibTorch: the kernels will run on one thread.")
endif()
