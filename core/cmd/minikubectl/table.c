/*
 * Output in columns: any cells, and the server's Tables (the server renders cells, ages included; this only
 * chooses columns and aligns). Columns are at least six wide with three spaces between, as kubectl's are.
 */
#include <stdio.h>
#include <string.h>

#include "kubectl.h"

#define GAP 3
#define NARROWEST 6

void kubectl_grid_row(struct kubectl_grid *grid, const char *const *cells)
{
    grid->cells = mem_resize(grid->cells, grid->columns * (grid->rows + 1) + 1, sizeof(char *));
    for (size_t i = 0; i < grid->columns; i++)
        grid->cells[grid->rows * grid->columns + i] = mem_strdup(cells[i]);
    grid->rows++;
}

/* What a terminal shows: characters, not bytes. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void kubectl_grid_print(struct kubectl_grid *grid, size_t **widths, size_t *n_widths)
{
    size_t *own = NULL, n_own = 0;
    if (!widths) {
        widths = &own;
        n_widths = &n_own;
    }
    if (*n_widths < grid->columns) {
        *widths = mem_resize(*widths, grid->columns, sizeof(size_t));
        memset(*widths + *n_widths, 0, (grid->columns - *n_widths) * sizeof(size_t));
        *n_widths = grid->columns;
    }
    size_t count = grid->rows * grid->columns;
    for (size_t i = 0; i < count; i++) {
        size_t *width = &(*widths)[i % grid->columns], wanted = width_of(grid->cells[i]) + GAP;
        wanted = wanted < NARROWEST ? NARROWEST : wanted;
        *width = *width < wanted ? wanted : *width;
    }
    for (size_t i = 0; i < count; i++) {
        size_t column = i % grid->columns;
        bool last = column + 1 == grid->columns;
        int space = last ? 0 : (int)((*widths)[column] - width_of(grid->cells[i]));
        printf("%s%*s%s", grid->cells[i], space, "", last ? "\n" : "");
        free(grid->cells[i]);
    }
    fflush(stdout);
    free(grid->cells);
    free(own);
    *grid = (struct kubectl_grid){.columns = grid->columns};
}

static char *cell_text(const cJSON *cell)
{
    if (cJSON_IsString(cell))
        return mem_strdup(cell->valuestring);
    if (!cell || cJSON_IsNull(cell))
        return mem_strdup("<none>");
    return json_print(cell);
}

static char *labels_text(const cJSON *labels)
{
    struct str text = {0};
    json_each (label, labels)
        str_addf(&text, "%s%s=%s", text.len ? "," : "", label->string, cJSON_GetStringValue(label));
    if (!text.len)
        str_add(&text, "<none>");
    return str_take(&text);
}

static bool shown(const cJSON *column, bool wide)
{
    return wide || json_int(column, "priority", 0) == 0;
}

static void table_row(struct kubectl *k, struct kubectl_grid *grid, const cJSON *definitions,
                      const cJSON *row, const struct kubectl_columns *columns)
{
    auto_free char **cells = mem_array(grid->columns + 1, sizeof(char *));
    size_t n = 0;
    if (columns->with_namespace)
        cells[n++] = mem_strdup(json_string_or(row, "object.metadata.namespace", ""));
    const cJSON *cell = json_get(row, "cells") ? json_get(row, "cells")->child : NULL;
    json_each (column, definitions) {
        if (shown(column, columns->wide)) {
            auto_free char *text = cell_text(cell);
            bool first = column == definitions->child && columns->name_prefix;
            cells[n++] = mem_printf("%s%s", first ? columns->name_prefix : "", text);
        }
        cell = cell ? cell->next : NULL;
    }
    const cJSON *labels = json_at(row, "object.metadata.labels");
    for (size_t i = 0; i < k->flags.n_label_columns; i++) {
        const char *value = cJSON_GetStringValue(json_get(labels, k->flags.label_columns[i]));
        cells[n++] = mem_strdup(value ? value : "");
    }
    if (k->flags.show_labels)
        cells[n++] = labels_text(labels);
    kubectl_grid_row(grid, (const char *const *)cells);
    for (size_t i = 0; i < n; i++)
        free(cells[i]);
}

static char *upper(const char *text)
{
    char *name = mem_strdup(text);
    for (char *c = name; *c; c++)
        *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
    return name;
}

static void table_head(struct kubectl *k, struct kubectl_grid *grid, const cJSON *definitions,
                       const struct kubectl_columns *columns)
{
    auto_free char **names = mem_array(grid->columns + 1, sizeof(char *));
    size_t n = 0;
    if (columns->with_namespace)
        names[n++] = mem_strdup("NAMESPACE");
    json_each (column, definitions)
        if (shown(column, columns->wide))
            names[n++] = upper(json_string_or(column, "name", ""));
    for (size_t i = 0; i < k->flags.n_label_columns; i++) {
        const char *slash = strrchr(k->flags.label_columns[i], '/');
        names[n++] = upper(slash ? slash + 1 : k->flags.label_columns[i]);
    }
    if (k->flags.show_labels)
        names[n++] = mem_strdup("LABELS");
    kubectl_grid_row(grid, (const char *const *)names);
    for (size_t i = 0; i < n; i++)
        free(names[i]);
}

void kubectl_print_table(struct kubectl *k, const cJSON *table, struct kubectl_columns *columns)
{
    const cJSON *definitions = json_get(table, "columnDefinitions");
    struct kubectl_grid grid = {.columns = (columns->with_namespace ? 1u : 0u) + k->flags.n_label_columns +
                                           (k->flags.show_labels ? 1u : 0u)};
    json_each (column, definitions)
        grid.columns += shown(column, columns->wide);
    if (!grid.columns)
        return;
    if (columns->headers && !k->flags.no_headers)
        table_head(k, &grid, definitions, columns);
    json_each (row, json_get(table, "rows"))
        table_row(k, &grid, definitions, row, columns);
    kubectl_grid_print(&grid, &columns->widths, &columns->n_widths);
}
