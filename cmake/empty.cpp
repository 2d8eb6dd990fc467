// CMake wants one source of a target: the operator library is all static library, and the precompiled header all
// header.
