# Build steps of core/schema: the protobuf field table as C, and lua/kinds as one JSON file for tests and benches.
find_program(LUAJIT luajit REQUIRED)

add_custom_command(
  OUTPUT ${CMAKE_BINARY_DIR}/schema_fields_table.c
  COMMAND ${LUAJIT} ${CMAKE_SOURCE_DIR}/core/schema/fields_to_c.lua
          ${CMAKE_SOURCE_DIR}/core/schema/protobuf_fields.tsv > ${CMAKE_BINARY_DIR}/schema_fields_table.c
  DEPENDS ${CMAKE_SOURCE_DIR}/core/schema/fields_to_c.lua ${CMAKE_SOURCE_DIR}/core/schema/protobuf_fields.tsv
  VERBATIM)
target_sources(m8_schema PRIVATE ${CMAKE_BINARY_DIR}/schema_fields_table.c)

file(GLOB kind_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/lua/kinds/*.lua
     ${CMAKE_SOURCE_DIR}/plugins/*/kinds/*.lua)
add_custom_command(
  OUTPUT ${CMAKE_BINARY_DIR}/kinds.json
  COMMAND ${LUAJIT} ${CMAKE_SOURCE_DIR}/test/support/kinds_to_json.lua ${kind_files} > ${CMAKE_BINARY_DIR}/kinds.json
  DEPENDS ${kind_files} ${CMAKE_SOURCE_DIR}/test/support/kinds_to_json.lua
  VERBATIM)
add_custom_target(m8_kinds_json DEPENDS ${CMAKE_BINARY_DIR}/kinds.json)
add_dependencies(m8_schema m8_kinds_json)
target_compile_definitions(m8_schema INTERFACE MINIK8S_KINDS_JSON="${CMAKE_BINARY_DIR}/kinds.json")
