# What users get: the program, the operator library for PyTorch, and the installed package.

file(GLOB cli_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cli/*.cpp")
add_executable(linformer_program ${cli_sources})
target_compile_definitions(linformer_program PRIVATE LINFORMER_VERSION="${PROJECT_VERSION}")
set_target_properties(linformer_program PROPERTIES OUTPUT_NAME linformer RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
target_link_libraries(linformer_program PRIVATE linformer::study linformer::report CLI11::CLI11)
target_compile_options(linformer_program PRIVATE ${LINFORMER_WARNINGS})
linformer_uses_torch(linformer_program)

# torch.ops.linformer.*: the operators registered with PyTorch's dispatcher, and nothing of the model.
add_library(linformer_ops_library SHARED "${CMAKE_CURRENT_SOURCE_DIR}/cmake/empty.cpp")
set_target_properties(linformer_ops_library PROPERTIES OUTPUT_NAME linformer_ops LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")
target_link_libraries(linformer_ops_library PRIVATE "$<LINK_LIBRARY:WHOLE_ARCHIVE,linformer_ops>")

include(cmake/Install.cmake)
