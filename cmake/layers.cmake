# One target per folder of src/, with the dependencies of docs/architecture.md and no others.
# scripts/check-layers holds the #include lines to the same table.

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

add_library(tidemark_options INTERFACE)
target_compile_options(tidemark_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
  # GCC 12 reports members of std::variant that no path reads (GCC bug 105562).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
target_include_directories(tidemark_options INTERFACE ${PROJECT_SOURCE_DIR}/src)

# tidemark_layer(NAME DEPENDS layer... LIBRARIES library...)
function(tidemark_layer name)
  cmake_parse_arguments(LAYER "" "" "DEPENDS;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_library(tidemark_${name} STATIC ${sources})
  target_link_libraries(tidemark_${name} PUBLIC tidemark_options)
  foreach(dependency IN LISTS LAYER_DEPENDS)
    target_link_libraries(tidemark_${name} PUBLIC tidemark_${dependency})
  endforeach()
  target_link_libraries(tidemark_${name} PUBLIC ${LAYER_LIBRARIES})
endfunction()
