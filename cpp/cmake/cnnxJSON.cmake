# Defines cnnx_json: the nlohmann-json headers, from its Python package or from find_package. Used at build time only.
add_library(cnnx_json INTERFACE)
set(json_missing 1)
if(Python_Interpreter_FOUND)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import importlib.util as u, os; print(os.path.join(u.find_spec('nlohmann_json').submodule_search_locations[0], 'include'))"
    OUTPUT_VARIABLE json_include OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE json_missing)
endif()
if(NOT json_missing)
  target_include_directories(cnnx_json SYSTEM INTERFACE "${json_include}")
else()
  find_package(nlohmann_json 3.10 REQUIRED)
  target_link_libraries(cnnx_json INTERFACE nlohmann_json::nlohmann_json)
endif()
