# Installs into a folder of its own, then builds against that installation as a stranger would: with find_package and with
# pkg-config, every public header alone and under pedantic warnings; and runs the installed command.
# usage: cmake -DBUILD=<build folder> -DCONSUMER=<this folder> -DVERSION=x.y.z -P run.cmake
cmake_minimum_required(VERSION 3.25)
set(work ${BUILD}/tests/install)
set(prefix ${work}/prefix)
file(REMOVE_RECURSE ${work}/prefix ${work}/consumer)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${ARGN}: ${code}\n${text}")
  endif()
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
file(GLOB_RECURSE pkgconfig ${prefix}/*/veer.pc)
get_filename_component(pkgconfig ${pkgconfig} DIRECTORY)
set(ENV{PKG_CONFIG_PATH} ${pkgconfig})
run(${CMAKE_COMMAND} -S ${CONSUMER} -B ${work}/consumer -DCMAKE_PREFIX_PATH=${prefix} -DVEER_EXPECTED_VERSION=${VERSION} -DCMAKE_C_FLAGS=${FLAGS})
run(${CMAKE_COMMAND} --build ${work}/consumer)
run(${work}/consumer/with_package)
run(${work}/consumer/with_pkgconfig)
run(${prefix}/bin/veer version)
