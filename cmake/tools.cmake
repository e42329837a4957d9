# Compiler cache and sanitizers: what changes how everything is compiled, but not what is built.

find_program(TIDEMARK_CCACHE ccache)
if(TIDEMARK_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${TIDEMARK_CCACHE})
  if(TIDEMARK_PCH)
    # What ccache asks for with precompiled headers; and paths relative to the source folder, so that clones share.
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${TIDEMARK_CCACHE})
  endif()
endif()

# tidemark_precompile(TARGET KIND header...): where TIDEMARK_PCH is on, TARGET's files are compiled with these headers
# and the most used ones of the standard library read already, once for all targets of a KIND. A file still includes
# what it uses: the debug and fuzz presets go without, and clang-tidy reads the files as the debug preset does.
function(tidemark_precompile target kind)
  if(NOT TIDEMARK_PCH)
    return()
  endif()
  target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  get_property(first GLOBAL PROPERTY tidemark_precompiled_${kind})
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
    return()
  endif()
  set_property(GLOBAL PROPERTY tidemark_precompiled_${kind} ${target})
  target_precompile_headers(${target} PRIVATE ${ARGN}
    <algorithm> <array> <coroutine> <cstdint> <cstring> <deque> <functional> <map> <memory> <optional> <set>
    <string> <string_view> <utility> <variant> <vector>)
endfunction()

if(TIDEMARK_SANITIZE)
  # -O1: the tests run several times faster than at -O0, and reports keep their lines.
  add_compile_options(-fsanitize=${TIDEMARK_SANITIZE} -fno-omit-frame-pointer -O1 -g1)
  add_link_options(-fsanitize=${TIDEMARK_SANITIZE})
  if(NOT TIDEMARK_FUZZ)
    # Each test is a process. A program that lies where it was linked has no million relocations to begin with.
    add_compile_options(-fno-pie)
    add_link_options(-no-pie)
  endif()
  if(TIDEMARK_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
    # GCC takes half as long again for these four. AddressSanitizer stops at a null pointer too; the fuzz preset
    # has them all.
    add_compile_options($<$<CXX_COMPILER_ID:GNU>:-fno-sanitize=null,vptr,object-size,alignment>)
  endif()
endif()
