# linformer_report_page(TARGET): assembles the report's page from its parts and gives its place to TARGET as LINFORMER_REPORT_PAGE.
# As a script (-P) it does the assembling: -D PARTS=folder -D ECHARTS=file -D OUT=file.

# In this order: each uses what stands before it.
set(report_scripts base tables charts summary runs speed paper ablations inspect evaluations provenance page)

if(CMAKE_SCRIPT_MODE_FILE)
  file(READ "${PARTS}/template.html" page)
  file(READ "${PARTS}/page.css" css)
  file(READ "${ECHARTS}" echarts)
  set(scripts "\"use strict\";\n")
  foreach(name IN LISTS report_scripts)
    file(READ "${PARTS}/${name}.js" script)
    string(APPEND scripts "${script}")
  endforeach()
  foreach(place css echarts scripts)
    string(REPLACE "@${place}@" "${${place}}" page "${page}")
  endforeach()
  file(WRITE "${OUT}" "${page}")
  return()
endif()

function(linformer_report_page target)
  set(parts "${CMAKE_CURRENT_SOURCE_DIR}/src/report/page")
  set(echarts "${CMAKE_CURRENT_SOURCE_DIR}/data/echarts/echarts.min.js")
  set(out "${CMAKE_CURRENT_BINARY_DIR}/report_page.html")
  set(files "${parts}/template.html" "${parts}/page.css")
  foreach(name IN LISTS report_scripts)
    list(APPEND files "${parts}/${name}.js")
  endforeach()
  if(NOT EXISTS "${echarts}")
    message(FATAL_ERROR "${echarts} is missing, which the report's page holds: run tools/setup.sh, or tools/fetch_data.py --only echarts")
  endif()
  add_custom_command(OUTPUT "${out}" DEPENDS ${files} "${echarts}" "${CMAKE_CURRENT_FUNCTION_LIST_FILE}"
    COMMAND "${CMAKE_COMMAND}" -D "PARTS=${parts}" -D "ECHARTS=${echarts}" -D "OUT=${out}" -P "${CMAKE_CURRENT_FUNCTION_LIST_FILE}"
    COMMENT "Assembling the report's page")
  set_source_files_properties("${CMAKE_CURRENT_SOURCE_DIR}/src/report/page.cpp" PROPERTIES
    OBJECT_DEPENDS "${out}" COMPILE_DEFINITIONS "LINFORMER_REPORT_PAGE=\"${out}\"")
endfunction()
