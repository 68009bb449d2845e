/*
 * yaml: libyaml to and from cJSON, with the rules that Kubernetes users know (sigs.k8s.io/yaml): YAML 1.1
 * booleans (true/false/yes/no/on/off), integers, floats, null; anchors, aliases (bounded expansion), merge
 * keys; duplicate keys, tabs, depth over 64, and input over the limit are refused. Errors say file line and
 * column.
 */
#ifndef M8_BASE_YAML_H
#define M8_BASE_YAML_H

#include "base/json.h"

#define YAML_MAX_BYTES (8u << 20)

/* All documents of a stream as a JSON array (empty documents are skipped). JSON text is accepted, being YAML.
 */
cJSON *yaml_parse_all(const char *text, size_t len, struct err **err);
/* Exactly one document. */
cJSON *yaml_parse(const char *text, size_t len, struct err **err);
/* The line (from 1) on which the field at `path` (as json.h writes paths) stands in the document of that
 * number (from 0, empty ones not counted), or the nearest thing that holds it; 0: there is no such document.
 */
size_t yaml_line(const char *text, size_t len, size_t document, const char *path);
/* Block style, keys in the order of the object, strings quoted only where needed, like kubectl -o yaml. */
char *yaml_print(const cJSON *json);

#endif
