# cmake -DSOURCE=FOLDER -DOUT=FILE -P commit.cmake: writes FILE, a header that names the commit, when it changed.
execute_process(COMMAND git -C ${SOURCE} describe --always --dirty OUTPUT_VARIABLE commit
  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#pragma once\n#define TIDEMARK_COMMIT \"${commit}\"\n" @ONLY)
