# Writes OUT, a file for ctest with one entry for each suite of a GoogleTest program (a suite is the part of a test's name before the dot), or for
# each test where EACH is "test": cmake -D PROGRAM=… -D LAYER=… -D EACH=suite|test -D OUT=… -P discover.cmake
execute_process(COMMAND "${PROGRAM}" --gtest_list_tests OUTPUT_VARIABLE listed RESULT_VARIABLE status)
if(status)
  message(FATAL_ERROR "${PROGRAM} --gtest_list_tests ended with ${status}")
endif()

# "Forms/Decoder." and "  Streams/0  # GetParam() = …" become Decoder and Decoder.Streams: what a parameter makes of a test stays in one entry.
string(REGEX REPLACE "[;[]|]" "" listed "${listed}")
string(REPLACE "\n" ";" lines "${listed}")
set(names "")
set(suite "")
foreach(line IN LISTS lines)
  if(line MATCHES "^  ([A-Za-z0-9_]+)")
    if(EACH STREQUAL "suite")
      list(APPEND names "${suite}")
    else()
      list(APPEND names "${suite}.${CMAKE_MATCH_1}")
    endif()
  elseif(line MATCHES "^([A-Za-z0-9_]+/)?([A-Za-z0-9_]+)(/[0-9]+)?[.]")
    set(suite "${CMAKE_MATCH_2}")
  endif()
endforeach()
list(REMOVE_DUPLICATES names)

# Tests run beside each other: threads that spin for each other would need ten times as long, and one a core each would be too many.
set(properties "LABELS \"${LAYER}\" TIMEOUT 900 ENVIRONMENT \"OMP_WAIT_POLICY=passive;OMP_NUM_THREADS=2\"")
set(entries "")
foreach(name IN LISTS names)
  if(EACH STREQUAL "suite")
    set(filter "${name}.*:*/${name}.*:${name}/*.*")
  else()
    string(REPLACE "." "/*." typed "${name}")
    set(filter "${name}:${name}/*:*/${name}/*:${typed}")
  endif()
  string(APPEND entries "add_test(\"${LAYER}.${name}\" \"${PROGRAM}\" \"--gtest_filter=${filter}\")\n"
    "set_tests_properties(\"${LAYER}.${name}\" PROPERTIES ${properties})\n")
endforeach()
file(WRITE "${OUT}" "${entries}")
