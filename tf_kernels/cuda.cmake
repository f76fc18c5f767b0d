# The GPU kernels. Finds nvcc and, where it is there and KERASLLM_CUDA allows it, makes
#   kerasllm_cuda_objects  all *_cuda.cu, for the libraries that call them, and
#   KERASLLM_CUDA_LINK     what these link, in this order and before TensorFlow: from TensorFlow's own
#                          CUDA stubs the library would not load into tensorflow-cpu; found in
#   KERASLLM_CUDA_LINK_DIRECTORIES.
# Sets KERASLLM_HAS_CUDA, KERASLLM_CUDA_WHY_NOT, KERASLLM_CUDA_VERSION and KERASLLM_CUDA_BUILT.
set(KERASLLM_CUDA AUTO CACHE STRING "Build GPU kernels: AUTO (if there is an nvcc), ON or OFF")
set_property(CACHE KERASLLM_CUDA PROPERTY STRINGS AUTO ON OFF)
set(KERASLLM_CUDA_TARGETS 75 80 86 89 90 CACHE STRING
  "GPUs to build for; PTX of the last is for later ones")
set(KERASLLM_HAS_CUDA OFF)
set(KERASLLM_CUDA_WHY_NOT "KERASLLM_CUDA is OFF")

file(GLOB cuda_sources CONFIGURE_DEPENDS common/*_cuda.cu)
foreach(family ${KERASLLM_FAMILIES})
  file(GLOB family_cuda CONFIGURE_DEPENDS ${family}/*_cuda.cu)
  list(APPEND cuda_sources ${family_cuda})
  if(family_cuda)
    list(APPEND KERASLLM_CUDA_FAMILIES ${family})
  endif()
endforeach()

if(KERASLLM_CUDA)
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    # The last: nvcc of the CUDA wheels, in the environment of the Python that builds, else of that
    # which is first in PATH.
    set(KERASLLM_PYTHON ${Python_EXECUTABLE})
    if(NOT KERASLLM_PYTHON)
      find_program(KERASLLM_PYTHON NAMES python3 python)
    endif()
    set(wheel_folders "")
    if(KERASLLM_PYTHON)
      execute_process(
        COMMAND ${KERASLLM_PYTHON} -c
          "import glob, sys; print(';'.join(f for p in sys.path if p for f in glob.glob(p + '/nvidia/c*/bin')))"
        OUTPUT_VARIABLE wheel_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
    find_program(KERASLLM_NVCC nvcc
      HINTS ENV PATH $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin
      PATHS /usr/local/cuda/bin ${wheel_folders})
    if(KERASLLM_NVCC)
      set(CMAKE_CUDA_COMPILER ${KERASLLM_NVCC})
      # The wheels have their libraries in lib, where nvcc looks into lib64.
      get_filename_component(top ${KERASLLM_NVCC} DIRECTORY)
      get_filename_component(top ${top} DIRECTORY)
      if(EXISTS ${top}/lib/libcudart_static.a AND NOT EXISTS ${top}/lib64)
        set(KERASLLM_CUDA_WHEEL_LIBRARIES ${top}/lib)
        set(ENV{LIBRARY_PATH} "${top}/lib:$ENV{LIBRARY_PATH}")
      endif()
    endif()
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    list(TRANSFORM KERASLLM_CUDA_TARGETS APPEND "-real" OUTPUT_VARIABLE CMAKE_CUDA_ARCHITECTURES)
    list(GET KERASLLM_CUDA_TARGETS -1 newest)
    list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest}-virtual)
  endif()
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    set(KERASLLM_CUDA_WHY_NOT
      "no nvcc was found in PATH, CUDA_HOME, /usr/local/cuda or the environment's CUDA wheels")
  else()
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER)
      enable_language(CUDA)
      if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 11.8)
        set(KERASLLM_CUDA_WHY_NOT
          "${CMAKE_CUDA_COMPILER} is version ${CMAKE_CUDA_COMPILER_VERSION}, 11.8 is needed")
      else()
        set(KERASLLM_HAS_CUDA ON)
        set(KERASLLM_CUDA_WHY_NOT "")
      endif()
    else()
      set(KERASLLM_CUDA_WHY_NOT "the nvcc found does not work here")
    endif()
  endif()
endif()
if(KERASLLM_CUDA STREQUAL "ON" AND NOT KERASLLM_HAS_CUDA)
  message(FATAL_ERROR "KERASLLM_CUDA is ON, but ${KERASLLM_CUDA_WHY_NOT}.")
endif()

if(KERASLLM_HAS_CUDA)
  # sm_NN is code for a GPU, compute_NN code that the driver compiles for later ones.
  set(KERASLLM_CUDA_BUILT "")
  foreach(target ${CMAKE_CUDA_ARCHITECTURES})
    if(NOT target MATCHES "-virtual$")
      string(REGEX REPLACE "^(.*[0-9][a-z]?)(-real)?$" "sm_\\1" name ${target})
      list(APPEND KERASLLM_CUDA_BUILT ${name})
    endif()
    if(target MATCHES "^([0-9]+[a-z]?)(-virtual)?$")
      list(APPEND KERASLLM_CUDA_BUILT compute_${CMAKE_MATCH_1})
    endif()
  endforeach()
  string(REPLACE ";" ", " targets_text "${KERASLLM_CUDA_BUILT}")
  set(KERASLLM_CUDA_VERSION "nvcc ${CMAKE_CUDA_COMPILER_VERSION}")
  message(STATUS "GPU kernels for ${targets_text}, by ${KERASLLM_CUDA_VERSION}")
  # The compiler cache that C++ has.
  if(NOT CMAKE_CUDA_COMPILER_LAUNCHER AND CMAKE_CXX_COMPILER_LAUNCHER)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
  elseif(NOT CMAKE_CUDA_COMPILER_LAUNCHER AND DEFINED ENV{CMAKE_CXX_COMPILER_LAUNCHER})
    set(CMAKE_CUDA_COMPILER_LAUNCHER $ENV{CMAKE_CXX_COMPILER_LAUNCHER})
  endif()
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  add_library(kerasllm_cuda_objects OBJECT EXCLUDE_FROM_ALL ${cuda_sources})
  target_include_directories(kerasllm_cuda_objects PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_options(kerasllm_cuda_objects PRIVATE
    -O3 -Xcompiler=-fvisibility=hidden,-Wall,-Wextra)
  # Adam's elements have the bits of Keras's operations, each rounded by itself.
  set_source_files_properties(adamw/adamw_cuda.cu PROPERTIES COMPILE_OPTIONS -fmad=false)
  set(KERASLLM_CUDA_LINK -Wl,--push-state,-Bstatic -lcudart_static -Wl,--pop-state -ldl -lrt
    -lpthread)
  set(KERASLLM_CUDA_LINK_DIRECTORIES ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES}
    ${KERASLLM_CUDA_WHEEL_LIBRARIES})
else()
  message(STATUS "No GPU kernels: ${KERASLLM_CUDA_WHY_NOT}")
endif()

# For tests on a GPU without TensorFlow: the kernels alone.
option(KERASLLM_CUDA_ONLY "Build libkerasllm_cuda.so and nothing else" OFF)
if(KERASLLM_CUDA_ONLY)
  if(NOT KERASLLM_HAS_CUDA)
    message(FATAL_ERROR "No GPU kernels: ${KERASLLM_CUDA_WHY_NOT}.")
  endif()
  add_library(kerasllm_cuda MODULE $<TARGET_OBJECTS:kerasllm_cuda_objects> common/cuda_mma_test.cu)
  target_include_directories(kerasllm_cuda PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  set_target_properties(kerasllm_cuda PROPERTIES LINKER_LANGUAGE CXX)
  target_link_directories(kerasllm_cuda PRIVATE ${KERASLLM_CUDA_LINK_DIRECTORIES})
  target_link_libraries(kerasllm_cuda PRIVATE ${KERASLLM_CUDA_LINK})
endif()

# The same kernels for the CPU, thread by thread, for tests where there is no GPU. CMake gives a file
# one language, and nvcc has the .cu: so each is included by a file of one line.
function(add_emulated_cuda_library)
  foreach(source ${cuda_sources} common/cuda_mma_test.cu)
    get_filename_component(name ${source} NAME_WE)
    set(emulated ${CMAKE_CURRENT_BINARY_DIR}/emulated/${name}.cc)
    file(CONFIGURE OUTPUT ${emulated} CONTENT "#include \"${source}\"\n" @ONLY)
    list(APPEND emulated_sources ${emulated})
  endforeach()
  add_library(kerasllm_cuda_emulated MODULE EXCLUDE_FROM_ALL ${emulated_sources}
    common/cuda_emulation.cc)
  target_include_directories(kerasllm_cuda_emulated PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(kerasllm_cuda_emulated PRIVATE KERASLLM_CUDA_EMULATED)
  # -ffp-contract=off: as adamw_cuda.cu is compiled for GPUs.
  target_compile_options(kerasllm_cuda_emulated PRIVATE -O1 -fno-strict-aliasing
    -ffp-contract=off -U_FORTIFY_SOURCE ${warnings} -Wno-unknown-pragmas)
endfunction()
