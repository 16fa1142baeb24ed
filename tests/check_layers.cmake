# Fails when a file includes a header of a layer that its own folder may not know. One line per wrong include.
# usage: cmake -DROOT=<repository> -P check_layers.cmake
#
# Our headers are named from the repository's root ("ir/graph.h") or from an include folder (veer/plan.h, in
# <folder>/include/veer); a name without a folder is a neighbour. Generated headers are found nowhere and are ignored.
cmake_minimum_required(VERSION 3.25)

set(layers ir runtime frontend models passes backends api tools)
# What each layer may include besides itself, as patterns of repository paths. api and tools may include everything.
set(ir_may "^$")
set(runtime_may "^(ir/base/|ir/types\\.h|ir/include/veer/)")
set(frontend_may "^ir/")
set(models_may "^ir/")
set(passes_may "^ir/")
set(backends_may "^(ir|runtime)/")
set(api_may ".")
set(tools_may ".")
# The only folder that may see another library's types.
set(library_headers "protobuf-c/" "llvm-c/" "oneapi/dnnl/|dnnl" "jansson\\.h" "png\\.h" "zlib\\.h")
set(library_folders "frontend/" "backends/llvm/" "backends/onednn/" "(frontend|tools)/" "frontend/" "(frontend|tools)/")

set(wrong 0)
macro(complain file include reason)
  message("${file}: includes ${include}: ${reason}")
  math(EXPR wrong "${wrong} + 1")
endmacro()

# The repository path that an include in `file` names, or empty when it is not ours.
function(resolve file include out)
  get_filename_component(folder ${file} DIRECTORY)
  foreach(candidate ${include} ${folder}/${include} ir/include/${include} runtime/include/${include} api/include/${include}
          frontend/include/${include} models/include/${include} passes/include/${include} backends/include/${include})
    if(EXISTS ${ROOT}/${candidate})
      cmake_path(NORMAL_PATH candidate)
      set(${out} ${candidate} PARENT_SCOPE)
      return()
    endif()
  endforeach()
  if(include MATCHES "^(ir|runtime|frontend|models|passes|backends|api|tools|bench|tests)/") # ours by name
    set(${out} ${include} PARENT_SCOPE)
  else()
    set(${out} "" PARENT_SCOPE)
  endif()
endfunction()

set(count 0)
foreach(layer ${layers})
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/${layer}/*.c ${ROOT}/${layer}/*.h ${ROOT}/${layer}/*.inc ${ROOT}/${layer}/*.def)
  foreach(file ${files})
    math(EXPR count "${count} + 1")
    file(STRINGS ${ROOT}/${file} lines REGEX "^[ \t]*#[ \t]*include[ \t]*[<\"]")
    foreach(line ${lines})
      string(REGEX REPLACE "^[ \t]*#[ \t]*include[ \t]*[<\"]([^>\"]+)[>\"].*" "\\1" include "${line}")
      foreach(header folder IN ZIP_LISTS library_headers library_folders)
        if(include MATCHES "^(${header})" AND NOT file MATCHES "^${folder}")
          complain(${file} ${include} "this library belongs to ${folder}")
        endif()
      endforeach()
      resolve(${file} ${include} target)
      if(NOT target STREQUAL "" AND NOT target MATCHES "^${layer}/" AND NOT target MATCHES "${${layer}_may}")
        complain(${file} ${include} "${layer} may not include this layer")
      endif()
    endforeach()
  endforeach()
endforeach()

if(count EQUAL 0)
  message(FATAL_ERROR "no source files under ROOT=${ROOT}")
elseif(wrong GREATER 0)
  message(FATAL_ERROR "${wrong} includes against the layers (tests/check_layers.cmake lists what each may include)")
endif()
message("${count} files respect the layers")
