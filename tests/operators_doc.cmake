# Fails where docs/operators.md is not what `veer ops --markdown` prints.
execute_process(COMMAND ${VEER} ops --markdown OUTPUT_VARIABLE now RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "veer ops --markdown: exit code ${result}")
endif()
file(READ ${PAGE} written)
if(NOT now STREQUAL written)
  message(FATAL_ERROR "${PAGE} is stale: veer ops --markdown > docs/operators.md")
endif()
