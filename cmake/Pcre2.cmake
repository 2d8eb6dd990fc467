# PCRE2 comes without a usable CMake package of its own. The installed package includes this file too.
find_path(PCRE2_INCLUDE_DIR pcre2.h REQUIRED)
find_library(PCRE2_LIBRARY pcre2-8 REQUIRED)
if(NOT TARGET linformer::pcre2)
  add_library(linformer::pcre2 INTERFACE IMPORTED)
  target_include_directories(linformer::pcre2 INTERFACE "${PCRE2_INCLUDE_DIR}")
  target_link_libraries(linformer::pcre2 INTERFACE "${PCRE2_LIBRARY}")
endif()
