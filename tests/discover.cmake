# Writes OUT, a file for ctest with one entry for each suite of a GoogleTest program (a suite is the part of a test's name before the dot), or for
# each test where EACH is "test": cmake -D PROGRAM=… -D LAYER=… -D EACH=suite|test -D OUT=… -P discover.cmake
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND "${PROGRAM}" --gtest_list_tests OUTPUT_VARIABLE listed RESULT_VARIABLE status)
if(status)
  message(FATAL_ERROR "${PROGRAM} --gtest_list_tests ended with ${status}")
endif()

# "Forms/EachForm." with "  Streams/0  # GetParam() = …" below it, and "Fields/0." of a suite by types: what parameters and types make of one suite
# or test stays in one entry, EachForm or EachForm.Streams, whose filter is the list of the whole names.
string(REGEX REPLACE "[;[]|]" "" listed "${listed}")
string(REPLACE "\n" ";" lines "${listed}")
set(names "")
foreach(line IN LISTS lines)
  if(line MATCHES "^  ([A-Za-z0-9_]+)(/?)")
    set(name "${suite}")
    set(whole "${whole_suite}.*")
    if(EACH STREQUAL "test")
      set(name "${suite}.${CMAKE_MATCH_1}")
      set(whole "${whole_suite}.${CMAKE_MATCH_1}")
      if(CMAKE_MATCH_2)
        string(APPEND whole "/*")
      endif()
    endif()
    list(APPEND names "${name}")
    list(APPEND filter_of_${name} "${whole}")
  elseif(line MATCHES "^([A-Za-z0-9_/]+)[.]")
    set(whole_suite "${CMAKE_MATCH_1}")
    string(REGEX REPLACE "/[0-9]+$" "" suite "${whole_suite}")
    string(REGEX REPLACE "^.*/" "" suite "${suite}")
  endif()
endforeach()
list(REMOVE_DUPLICATES names)

# Tests run beside each other: threads that spin for each other would need ten times as long, and one a core each would be too many.
set(properties "LABELS \"${LAYER}\" TIMEOUT 900 ENVIRONMENT \"OMP_WAIT_POLICY=passive;OMP_NUM_THREADS=2\"")
set(entries "")
foreach(name IN LISTS names)
  list(REMOVE_DUPLICATES filter_of_${name})
  list(JOIN filter_of_${name} ":" filter)
  string(APPEND entries "add_test(\"${LAYER}.${name}\" \"${PROGRAM}\" \"--gtest_filter=${filter}\")\n"
    "set_tests_properties(\"${LAYER}.${name}\" PROPERTIES ${properties})\n")
endforeach()
file(WRITE "${OUT}" "${entries}")
