# Libraries that come without a usable CMake package of their own.
include("${CMAKE_CURRENT_LIST_DIR}/Pcre2.cmake")

find_path(TOMLPLUSPLUS_INCLUDE_DIR toml++/toml.h REQUIRED)
