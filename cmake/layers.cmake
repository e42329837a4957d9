# One target per folder of src/, with the dependencies of docs/architecture.md and no others.
# scripts/check-layers holds the #include lines to the same table.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

add_library(tidemark_options INTERFACE)
target_compile_options(tidemark_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow
  # Another compiler finds other things; it is used for fuzzing, not for judging.
  $<$<CXX_COMPILER_ID:GNU>:-Werror>
  # GCC 12 reports members of std::variant that no path reads (GCC bug 105562).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
  # GCC 12 takes the text inside a std::string that is moved for one that may reach past the object.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds>
  # GCC 12 sees overlaps where a std::string is built from a literal and a temporary (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # GCC 12 takes an insertion at the end of a std::vector for a read past its end (GCC bug 105329).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overread>
  $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow>)
target_include_directories(tidemark_options INTERFACE ${PROJECT_SOURCE_DIR}/src)

# tidemark_check_layers(TARGET FOLDER): TARGET is compiled only when FOLDER (src/pool) keeps to the table of
# scripts/check-layers.
function(tidemark_check_layers target folder)
  file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.h ${PROJECT_SOURCE_DIR}/${folder}/*.cc)
  string(MAKE_C_IDENTIFIER ${folder} folder_id)
  set(stamp ${PROJECT_BINARY_DIR}/layers/${folder_id}.stamp)
  add_custom_command(
    OUTPUT ${stamp}
    COMMAND ${PROJECT_SOURCE_DIR}/scripts/check-layers ${folder}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/layers
    COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
    DEPENDS ${files} ${PROJECT_SOURCE_DIR}/scripts/check-layers
    COMMENT "Checking the layers of ${folder}"
    VERBATIM)
  add_custom_target(check_layers_${folder_id} DEPENDS ${stamp})
  add_dependencies(${target} check_layers_${folder_id})
endfunction()

# tidemark_layer(NAME DEPENDS layer... LIBRARIES library...)
function(tidemark_layer name)
  cmake_parse_arguments(LAYER "" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_library(tidemark_${name} STATIC ${sources})
  tidemark_check_layers(tidemark_${name} src/${name})
  tidemark_precompile(tidemark_${name} layers)
  target_link_libraries(tidemark_${name} PUBLIC tidemark_options)
  foreach(dependency IN LISTS LAYER_DEPENDS)
    target_link_libraries(tidemark_${name} PUBLIC tidemark_${dependency})
  endforeach()
  target_link_libraries(tidemark_${name} PUBLIC ${LAYER_LIBRARIES})
endfunction()
