# The GPU kernels. Finds nvcc and, where it is there and KERASLLM_CUDA allows it, makes
#   kerasllm_cuda_objects  all *_cuda.cu, for the libraries that call them, and
#   KERASLLM_CUDA_LINK     what these link, in this order and before TensorFlow: from TensorFlow's own
#                          CUDA stubs the library would not load into tensorflow-cpu.
# Sets KERASLLM_HAS_CUDA and KERASLLM_CUDA_WHY_NOT.
set(KERASLLM_CUDA AUTO CACHE STRING "Build GPU kernels: AUTO (if there is an nvcc), ON or OFF")
set_property(CACHE KERASLLM_CUDA PROPERTY STRINGS AUTO ON OFF)
set(KERASLLM_CUDA_TARGETS 75 80 86 89 90)  # and PTX of the last for later GPUs
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
    # The last: nvcc of the CUDA wheels, in the environment whose Python is first in PATH.
    find_program(KERASLLM_PYTHON NAMES python3 python)
    set(wheel_folders "")
    if(KERASLLM_PYTHON)
      execute_process(
        COMMAND ${KERASLLM_PYTHON} -c
          "import glob, sysconfig; print(';'.join(glob.glob(sysconfig.get_path('purelib') + '/nvidia/c*/bin')))"
        OUTPUT_VARIABLE wheel_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
    find_program(KERASLLM_NVCC nvcc
      HINTS ENV PATH $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin
      PATHS /usr/local/cuda/bin ${wheel_folders})
    if(KERASLLM_NVCC)
      set(CMAKE_CUDA_COMPILER ${KERASLLM_NVCC})
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
  string(REPLACE ";" ", sm_" targets_text "sm_${KERASLLM_CUDA_TARGETS}")
  message(STATUS "GPU kernels for ${targets_text} and PTX, nvcc ${CMAKE_CUDA_COMPILER_VERSION}")
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
  target_link_directories(kerasllm_cuda PRIVATE ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES})
  target_link_libraries(kerasllm_cuda PRIVATE ${KERASLLM_CUDA_LINK})
endif()

# The same kernels for the CPU, thread by thread, for tests where there is no GPU.
function(add_emulated_cuda_library)
  list(APPEND cuda_sources common/cuda_mma_test.cu)
  add_library(kerasllm_cuda_emulated MODULE ${cuda_sources} common/cuda_emulation.cc)
  set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CXX)
  target_include_directories(kerasllm_cuda_emulated PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(kerasllm_cuda_emulated PRIVATE KERASLLM_CUDA_EMULATED)
  # -ffp-contract=off: as adamw_cuda.cu is compiled for GPUs.
  target_compile_options(kerasllm_cuda_emulated PRIVATE -x c++ -O1 -fno-strict-aliasing
    -ffp-contract=off -U_FORTIFY_SOURCE ${warnings} -Wno-unknown-pragmas)
endfunction()
