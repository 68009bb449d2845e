/*
 * plugin: bundles of kinds, controllers and policies beside the core, one folder each under plugins/:
 *
 *   plugins/NAME/plugin.yaml   the manifest (below); a folder without one is no bundle
 *   plugins/NAME/kinds/        as lua/kinds
 *   plugins/NAME/controllers/  as lua/controllers; modules of the bundle: require("NAME.module") finds
 *                              plugins/NAME/NAME/module.lua
 *   plugins/NAME/points.lua    decision points of its own, as lua/framework/points.lua
 *   plugins/NAME/policies/     as policies/, with its own default.lua for its points
 *   plugins/NAME/node/         C, built into the shared object plugins/NAME.so beside the programs: what the
 *                              bundle does on each machine (struct node_extension, node/node.h)
 *
 * Manifest: {apiVersion: minik8s.io/v1, kind: Plugin, metadata: {name}, spec: {abi, version, description,
 * requires: [NAME], library: true}}. abi must be PLUGIN_ABI: the contract with Lua (lua/CONTRACT.md) and the
 * form above.
 *
 * Read once at start, everywhere that loads Lua; nothing runs by being listed. A bundle that is broken
 * refuses the start with file and reason: a cluster that silently lacks a kind is worse than one that says
 * so. Strings live as long as the struct. One thread.
 */
#ifndef M8_PLUGIN_PLUGIN_H
#define M8_PLUGIN_PLUGIN_H

#include "node/node.h"

#define PLUGIN_ABI 1

/* What a bundle's shared object has under the name minik8s_plugin. The agent's own structures are its
 * interface, so it is loaded only by the version that it was built for. */
#define PLUGIN_LIBRARY_ABI 1
#define PLUGIN_LIBRARY_SYMBOL "minik8s_plugin"
struct plugin_library {
    unsigned abi;       /* PLUGIN_LIBRARY_ABI */
    size_t struct_size; /* of struct node_extension */
    const char *name;   /* the bundle's */
    const struct node_extension *node;
};

struct plugin {
    char *name, *version, *description, *directory;
    char **requires; /* NULL-terminated */
    bool library;    /* it has a shared object */
};

struct plugins;
/* share: the folder with lua/, policies/ and plugins/ (which may be absent). ERR_INVALID with the file: a bad
 * manifest, another ABI, a required bundle that is absent, requirements in a circle, a name twice. */
struct plugins *plugins_open(const char *share, struct err **err);
void plugins_free(struct plugins *plugins);

/* In order of requirement, then of name. */
const struct plugin *plugins_at(const struct plugins *plugins, size_t index); /* NULL: past the last */
/* What script_load_kinds and script_manager_new take: the core's folder first. NULL-terminated. */
const char *const *plugins_lua(const struct plugins *plugins);
const char *const *plugins_policies(const struct plugins *plugins);

/* Loads the shared objects of all bundles that have one, FOLDER/NAME.so; they stay loaded for good. Returns
 * what they do on a node, NULL-terminated, the array is the caller's. ERR_INVALID with the file: it is absent
 * or cannot be loaded, is another bundle's, or was built for another version. */
const struct node_extension **plugins_load(const struct plugins *plugins, const char *folder,
                                           struct err **err);

#endif
