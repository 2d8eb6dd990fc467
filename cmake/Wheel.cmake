# `pip install .`: LibTorch is that of the Python that builds the wheel, unless TORCH_DIR names one.
find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
if("$ENV{TORCH_DIR}" STREQUAL "" AND NOT TORCH_DIR)
  execute_process(COMMAND "${Python_EXECUTABLE}" -c "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    OUTPUT_VARIABLE torch_of_python OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(torch_of_python STREQUAL "")
    message(FATAL_ERROR "${Python_EXECUTABLE} has no torch to build with. Leave --no-build-isolation out, or install torch==2.13.0 first.")
  endif()
  set(TORCH_DIR "${torch_of_python}" CACHE PATH "The torch folder of the Python that builds" FORCE)
endif()
