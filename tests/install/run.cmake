# cmake -D BINARY_DIR=… -D WORK=… -D CXX=… [-D FLAGS=…] [-D PYTHON=…] -P run.cmake
# Installs the build into a fresh folder, moves it, builds tests/install against it, and runs what was installed.

function(run)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command}\nended with ${status}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE "${WORK}")
run("${CMAKE_COMMAND}" --install "${BINARY_DIR}" --prefix "${WORK}/first")
file(RENAME "${WORK}/first" "${WORK}/prefix")  # an installed package may be moved

# No TORCH_DIR: the package finds the LibTorch that it was built with.
run("${CMAKE_COMMAND}" -E env --unset=TORCH_DIR "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}" -B "${WORK}/build"
  "-DCMAKE_PREFIX_PATH=${WORK}/prefix" "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_CXX_FLAGS=${FLAGS}")
run("${CMAKE_COMMAND}" --build "${WORK}/build")
run("${WORK}/build/uses_linformer")
if(NOT output STREQUAL "286 of 286 finite\n")
  message(FATAL_ERROR "uses_linformer printed: ${output}")
endif()

run("${WORK}/prefix/bin/linformer" --version)
file(GLOB ops_library "${WORK}/prefix/lib*/liblinformer_ops.so" "${WORK}/prefix/lib/*/liblinformer_ops.so")
if(NOT ops_library)
  message(FATAL_ERROR "liblinformer_ops.so was not installed")
endif()
if(PYTHON)
  run("${PYTHON}" -c "import torch; torch.ops.load_library('${ops_library}'); print(torch.ops.linformer.attention.default)")
endif()
file(REMOVE_RECURSE "${WORK}")
