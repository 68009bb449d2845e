/*
 * script_placement_near: what lies around a node, for the policies of scheduler.filter.near and
 * scheduler.score.near: pod affinity and anti-affinity (also of the pods that are there already) and
 * spreading, as numbers per topology domain.
 *
 * The numbers come from the pods per node that every class keeps anyway (peers): the work is proportional to
 * the nodes that hold matching pods; no pod is looked at. A verdict is kept per row of numbers, so nodes with
 * equal numbers cost one call (contract 18: what a policy sees is declared, and is all that it depends on).
 */
#include <string.h>

#include "script/script_placement_private.h"

#define BUCKETS 256
#define MAX_ROWS 4096 /* per class; then all are forgotten */

/* ---- topologies ---- */

static void read_domain(const struct placement *placement, struct near_topology *topology, size_t slot)
{
    const cJSON *labels = json_get(placement->slots[slot].view, "labels");
    const char *value = cJSON_GetStringValue(json_get(labels, topology->key));
    topology->of_slot[slot] = -1;
    if (!value)
        return;
    intptr_t number = (intptr_t)map_get(&topology->values, value);
    if (!number) {
        number = ++topology->n_values;
        map_set(&topology->values, value, (void *)number);
    }
    topology->of_slot[slot] = (int)number - 1;
}

static void read_domains(const struct placement *placement, struct near_topology *topology)
{
    size_t from = topology->n_slots;
    if (from == placement->n_slots)
        return;
    topology->of_slot = mem_resize(topology->of_slot, placement->n_slots, sizeof(*topology->of_slot));
    topology->n_slots = placement->n_slots;
    for (size_t slot = from; slot < placement->n_slots; slot++)
        read_domain(placement, topology, slot);
}

static int topology_of(struct placement *placement, const char *key)
{
    for (size_t i = 0; i < placement->n_topologies; i++)
        if (str_eq(placement->topologies[i].key, key))
            return (int)i;
    placement->topologies =
        mem_resize(placement->topologies, placement->n_topologies + 1, sizeof(*placement->topologies));
    struct near_topology *topology = &placement->topologies[placement->n_topologies];
    *topology = (struct near_topology){.key = mem_strdup(key)};
    map_init(&topology->values, NULL);
    read_domains(placement, topology);
    return (int)placement->n_topologies++;
}

void near_node_changed(struct placement *placement, int slot)
{
    for (size_t i = 0; i < placement->n_topologies; i++) {
        read_domains(placement, &placement->topologies[i]);
        read_domain(placement, &placement->topologies[i], (size_t)slot);
    }
}

void near_fini(struct placement *placement)
{
    for (size_t i = 0; i < placement->n_topologies; i++) {
        free(placement->topologies[i].key);
        map_fini(&placement->topologies[i].values);
        free(placement->topologies[i].of_slot);
    }
    free(placement->topologies);
}

/* ---- terms ---- */

/* matchLabelKeys: the pod's own value of the label must (not) be there too. */
static void add_own_labels(cJSON *selector, const cJSON *keys, const char *operator, const cJSON * labels)
{
    json_each (key, keys) {
        const char *value = cJSON_GetStringValue(json_get(labels, key->valuestring));
        if (!value)
            continue;
        cJSON *expression = json_push(json_ensure_array(selector, "matchExpressions"), cJSON_CreateObject());
        json_set_string(expression, "key", key->valuestring);
        json_set_string(expression, "operator", operator);
        json_push_string(json_ensure_array(expression, "values"), value);
    }
}

static bool term_namespace(const struct placement *placement, const struct near_term *term,
                           const char *namespace)
{
    json_each (name, term->namespaces)
        if (str_eq(name->valuestring, namespace))
            return true;
    if (term->namespace_selector) {
        const struct cache_item *item = cache_get(placement->cache, "namespaces", namespace);
        return selector_matches_labels(term->namespace_selector,
                                       item ? json_get(item->columns, "metadata.labels") : NULL);
    }
    return !(term->namespaces && term->namespaces->child) && str_eq(term->own_namespace, namespace);
}

static bool term_matches(const struct placement *placement, const struct near_term *term,
                         const struct pod_class *class)
{
    return term->selector && selector_matches_labels(term->selector, json_get(class->view, "labels")) &&
           term_namespace(placement, term, json_string_or(class->view, "namespace", ""));
}

static struct near_term *add_term(struct placement *placement, struct pod_class *class, const cJSON *json,
                                  enum near_role role)
{
    struct near *near = &class->near;
    near->terms = mem_resize(near->terms, near->n_terms + 1, sizeof(*near->terms));
    struct near_term *term = &near->terms[near->n_terms++];
    const cJSON *labels = json_get(class->view, "labels"), *selector = json_get(json, "labelSelector");
    *term = (struct near_term){.role = role,
                               .namespaces = json_get(json, "namespaces"),
                               .own_namespace = json_string_or(class->view, "namespace", "")};
    term->topology = topology_of(placement, json_string_or(json, "topologyKey", ""));
    if (selector) {
        auto_json whole = json_copy(selector);
        add_own_labels(whole, json_get(json, "matchLabelKeys"), "In", labels);
        add_own_labels(whole, json_get(json, "mismatchLabelKeys"), "NotIn", labels);
        term->selector = selector_from_json(whole, NULL);
    }
    const cJSON *namespaces = json_get(json, "namespaceSelector");
    if (namespaces)
        term->namespace_selector = selector_from_json(namespaces, NULL);
    term->counts_itself = term_matches(placement, term, class);
    return term;
}

static void read_affinity(struct placement *placement, struct pod_class *class, const char *kind,
                          enum near_role role, int sign)
{
    const cJSON *affinity = json_get(json_get(class->view, "affinity"), kind);
    json_each (json, json_get(affinity, "requiredDuringSchedulingIgnoredDuringExecution"))
        add_term(placement, class, json, role);
    json_each (json, json_get(affinity, "preferredDuringSchedulingIgnoredDuringExecution"))
        add_term(placement, class, json_get(json, "podAffinityTerm"), NEAR_PREFERRED)->weight =
            sign * json_int(json, "weight", 1);
}

void near_read(struct placement *placement, struct pod_class *class)
{
    read_affinity(placement, class, "podAffinity", NEAR_AFFINITY, 1);
    read_affinity(placement, class, "podAntiAffinity", NEAR_ANTI, -1);
    json_each (json, json_get(class->view, "topology_spread")) {
        struct near_term *term = add_term(placement, class, json, NEAR_SPREAD);
        term->max_skew = json_int(json, "maxSkew", 1);
        term->min_domains = json_int(json, "minDomains", 1);
        term->hard = !str_eq(json_string(json, "whenUnsatisfiable"), "ScheduleAnyway");
        term->honor_affinity = !str_eq(json_string(json, "nodeAffinityPolicy"), "Ignore");
        term->honor_taints = str_eq(json_string(json, "nodeTaintsPolicy"), "Honor");
    }
    if (class->near.n_terms)
        placement->n_with_terms++;
}

void near_drop_rows(struct pod_class *class)
{
    struct near *near = &class->near;
    for (size_t bucket = 0; near->rows && bucket < BUCKETS; bucket++) {
        for (struct near_row *row = near->rows[bucket], *next; row; row = next) {
            next = row->next;
            free(row);
        }
    }
    free(steal(&near->rows));
    free(steal(&near->of_slot));
    near->n_rows = near->n_of_slot = 0;
}

void near_free(struct pod_class *class)
{
    struct near *near = &class->near;
    near_drop_rows(class);
    for (size_t i = 0; i < near->n_terms; i++) {
        selector_free(near->terms[i].selector);
        selector_free(near->terms[i].namespace_selector);
    }
    free(near->terms);
    free(near->own.at);
    free(near->foreign.at);
}

/* ---- whose pods matter ---- */

static void add_link(struct near_links *links, const struct near_term *term, const struct pod_class *counted)
{
    links->at = mem_resize(links->at, links->count + 1, sizeof(*links->at));
    links->at[links->count++] = (struct near_link){.term = term, .counted = counted};
}

/* As in Kubernetes: a neighbour counts for required affinity only if it matches all terms of it. */
static bool matches_affinity(const struct placement *placement, const struct near *near,
                             const struct pod_class *other)
{
    for (size_t i = 0; i < near->n_terms; i++)
        if (near->terms[i].role == NEAR_AFFINITY && !term_matches(placement, &near->terms[i], other))
            return false;
    return true;
}

static void link_own(const struct placement *placement, struct near *near, const struct pod_class *other)
{
    bool affinity = matches_affinity(placement, near, other);
    for (size_t i = 0; i < near->n_terms; i++) {
        const struct near_term *term = &near->terms[i];
        if (term->role == NEAR_AFFINITY ? affinity : term_matches(placement, term, other))
            add_link(&near->own, term, other);
    }
}

static void find_links(struct placement *placement, struct pod_class *class)
{
    struct near *near = &class->near;
    if (near->links_revision == placement->classes_revision)
        return;
    near->links_revision = placement->classes_revision;
    near->own.count = near->foreign.count = 0;
    if (!placement->n_with_terms)
        return;
    map_each (entry, &placement->classes) {
        const struct pod_class *other = entry->value;
        link_own(placement, near, other);
        for (size_t i = 0; i < other->near.n_terms; i++) {
            const struct near_term *term = &other->near.terms[i];
            if (term->role != NEAR_SPREAD && term_matches(placement, term, class))
                add_link(&near->foreign, term, other);
        }
    }
}

bool near_concerns(struct placement *placement, struct pod_class *class)
{
    find_links(placement, class);
    return class->near.n_terms || class->near.foreign.count;
}

/* ---- counting ---- */

struct sums { /* per domain of one topology */
    int64_t *of;
    bool *seen; /* spreading: a node of the domain counts */
    int64_t total, min, max;
    int domains;
};

struct pass {
    struct placement *placement;
    struct pod_class *class;
    struct sums *terms;              /* own terms */
    int64_t **refused, **preference; /* per topology, per domain; NULL: nothing there */
    int64_t preference_min, preference_max;
    bool any_preference;
};

static int domain_of(const struct placement *placement, int topology, size_t slot)
{
    const struct near_topology *at = &placement->topologies[topology];
    return slot < at->n_slots && placement->slots[slot].name ? at->of_slot[slot] : -1;
}

/* Whether the node counts for a spread constraint: it has all the labels of constraints of that hardness, and
 * the policies that stand for affinity and taints do not refuse it. */
static bool counts_for(const struct pass *pass, const struct near_term *term, size_t slot)
{
    const struct near *near = &pass->class->near;
    uint8_t excluded = pass->class->verdicts[slot].excluded;
    if ((term->honor_affinity && (excluded & EXCLUDED_BY_SELECTOR)) ||
        (term->honor_taints && (excluded & EXCLUDED_BY_TAINTS)))
        return false;
    for (size_t i = 0; i < near->n_terms; i++)
        if (near->terms[i].role == NEAR_SPREAD && near->terms[i].hard == term->hard &&
            domain_of(pass->placement, near->terms[i].topology, slot) < 0)
            return false;
    return true;
}

static void add_peers(const struct pass *pass, const struct near_link *link, int64_t weight, int64_t *of,
                      int64_t *total)
{
    bool spread = link->term->role == NEAR_SPREAD;
    for (size_t i = 0; i < link->counted->n_peers; i++) {
        const struct peer *peer = &link->counted->peers[i];
        int domain = domain_of(pass->placement, link->term->topology, (size_t)peer->slot);
        int64_t count = peer->count - (spread ? peer->leaving : 0);
        if (domain < 0 || (spread && !counts_for(pass, link->term, (size_t)peer->slot)))
            continue;
        of[domain] += weight * count;
        *total += count;
    }
}

static void bound_spread(const struct pass *pass, const struct near_term *term, struct sums *sums)
{
    const struct near_topology *topology = &pass->placement->topologies[term->topology];
    sums->seen = mem_array((size_t)topology->n_values + 1, sizeof(*sums->seen));
    for (size_t slot = 0; slot < pass->placement->n_slots; slot++) {
        int domain = domain_of(pass->placement, term->topology, slot);
        if (domain >= 0 && !sums->seen[domain] && counts_for(pass, term, slot)) {
            sums->seen[domain] = true;
            sums->min = sums->domains && sums->min < sums->of[domain] ? sums->min : sums->of[domain];
            sums->max = sums->domains && sums->max > sums->of[domain] ? sums->max : sums->of[domain];
            sums->domains++;
        }
    }
    if (sums->domains < term->min_domains)
        sums->min = 0;
}

static int64_t *topology_sums(const struct pass *pass, int64_t **tables, int topology)
{
    if (!tables[topology])
        tables[topology] =
            mem_array((size_t)pass->placement->topologies[topology].n_values + 1, sizeof(int64_t));
    return tables[topology];
}

static void count_foreign(const struct pass *pass)
{
    const struct near_links *links = &pass->class->near.foreign;
    int64_t total = 0;
    for (size_t i = 0; i < links->count; i++) {
        const struct near_term *term = links->at[i].term;
        if (!links->at[i].counted->n_peers)
            continue;
        int64_t **tables = term->role == NEAR_ANTI ? pass->refused : pass->preference;
        int64_t weight = term->role == NEAR_PREFERRED ? term->weight : 1;
        add_peers(pass, &links->at[i], weight, topology_sums(pass, tables, term->topology), &total);
    }
}

static void count_own(const struct pass *pass)
{
    const struct near *near = &pass->class->near;
    for (size_t i = 0; i < near->n_terms; i++) {
        size_t size = (size_t)pass->placement->topologies[near->terms[i].topology].n_values + 1;
        pass->terms[i].of = mem_array(size, sizeof(int64_t));
    }
    for (size_t i = 0; i < near->own.count; i++) {
        const struct near_term *term = near->own.at[i].term;
        struct sums *sums = &pass->terms[term - near->terms];
        if (term->role == NEAR_PREFERRED)
            add_peers(pass, &near->own.at[i], term->weight,
                      topology_sums(pass, pass->preference, term->topology), &sums->total);
        else
            add_peers(pass, &near->own.at[i], 1, sums->of, &sums->total);
    }
    for (size_t i = 0; i < near->n_terms; i++)
        if (near->terms[i].role == NEAR_SPREAD)
            bound_spread(pass, &near->terms[i], &pass->terms[i]);
}

static int64_t over_topologies(const struct pass *pass, int64_t *const *tables, size_t slot)
{
    int64_t sum = 0;
    for (size_t i = 0; i < pass->placement->n_topologies; i++) {
        int domain = tables[i] ? domain_of(pass->placement, (int)i, slot) : -1;
        sum += domain >= 0 ? tables[i][domain] : 0;
    }
    return sum;
}

static void bound_preference(struct pass *pass)
{
    bool first = true;
    for (size_t i = 0; i < pass->placement->n_topologies; i++)
        pass->any_preference |= pass->preference[i] != NULL;
    for (size_t slot = 0; pass->any_preference && slot < pass->placement->n_slots; slot++) {
        if (!pass->placement->slots[slot].name)
            continue;
        int64_t sum = over_topologies(pass, pass->preference, slot);
        pass->preference_min = first || sum < pass->preference_min ? sum : pass->preference_min;
        pass->preference_max = first || sum > pass->preference_max ? sum : pass->preference_max;
        first = false;
    }
}

/* ---- rows ---- */

/* Numbers per term (count in the domain or -1, total, min, max, domains), then refused, preference, its
 * bounds. */
enum { OF_COUNT, OF_TOTAL, OF_MIN, OF_MAX, OF_DOMAINS, PER_TERM };
enum { OF_REFUSED, OF_PREFERENCE, OF_PREFERENCE_MIN, OF_PREFERENCE_MAX, PER_NODE };

static void fill_row(const struct pass *pass, size_t slot, int64_t *values)
{
    const struct near *near = &pass->class->near;
    for (size_t i = 0; i < near->n_terms; i++, values += PER_TERM) {
        const struct sums *sums = &pass->terms[i];
        if (near->terms[i].role == NEAR_PREFERRED)
            continue;
        int domain = domain_of(pass->placement, near->terms[i].topology, slot);
        values[OF_COUNT] = domain >= 0 ? sums->of[domain] : -1;
        values[OF_TOTAL] = near->terms[i].role == NEAR_AFFINITY && sums->total > 0;
        values[OF_MIN] = sums->min;
        values[OF_MAX] = sums->max;
        values[OF_DOMAINS] = sums->domains;
    }
    values[OF_REFUSED] = over_topologies(pass, pass->refused, slot);
    values[OF_PREFERENCE] = pass->any_preference ? over_topologies(pass, pass->preference, slot) : 0;
    values[OF_PREFERENCE_MIN] = pass->preference_min;
    values[OF_PREFERENCE_MAX] = pass->preference_max;
}

static struct near_row *find_row(struct near *near, const int64_t *values, bool *fresh)
{
    size_t size = near->width * sizeof(*values);
    unsigned long long hash = str_hash(values, size);
    if (!near->rows)
        near->rows = mem_array(BUCKETS, sizeof(struct near_row *));
    struct near_row **bucket = &near->rows[hash % BUCKETS];
    for (struct near_row *row = *bucket; row; row = row->next)
        if (row->hash == hash && memcmp(row->values, values, size) == 0)
            return row;
    struct near_row *row = mem_alloc(sizeof(*row) + size);
    row->hash = hash;
    memcpy(row->values, values, size);
    row->next = *bucket;
    *bucket = row;
    near->n_rows++;
    *fresh = true;
    return row;
}

static struct target *give_rows(const struct pass *pass, size_t *count)
{
    struct near *near = &pass->class->near;
    size_t n_slots = pass->placement->n_slots;
    if (near->n_rows > MAX_ROWS)
        near_drop_rows(pass->class);
    near->width = near->n_terms * PER_TERM + PER_NODE;
    near->of_slot = mem_resize(near->of_slot, n_slots + 1, sizeof(struct near_row *));
    near->n_of_slot = n_slots;
    struct target *targets = mem_array(n_slots + 1, sizeof(*targets));
    auto_free int64_t *values = mem_array(near->width, sizeof(*values));
    struct near_row *last = NULL;
    *count = 0;
    for (size_t slot = 0; slot < n_slots; slot++) {
        near->of_slot[slot] = NULL;
        if (!pass->placement->slots[slot].name)
            continue;
        bool fresh = false;
        fill_row(pass, slot, values);
        if (!last || memcmp(last->values, values, near->width * sizeof(*values)) != 0)
            last = find_row(near, values, &fresh);
        near->of_slot[slot] = last;
        if (fresh)
            targets[(*count)++] =
                (struct target){.verdict = &last->verdict, .shares = last->shares, .slot = -1, .row = last};
    }
    return targets;
}

struct target *near_rows(struct placement *placement, struct pod_class *class, size_t *count)
{
    size_t n = placement->n_topologies;
    struct pass pass = {.placement = placement, .class = class};
    pass.terms = mem_array(class->near.n_terms + 1, sizeof(*pass.terms));
    pass.refused = mem_array(n + 1, sizeof(*pass.refused));
    pass.preference = mem_array(n + 1, sizeof(*pass.preference));
    for (size_t i = 0; i < n; i++)
        read_domains(placement, &placement->topologies[i]);
    count_own(&pass);
    count_foreign(&pass);
    bound_preference(&pass);
    struct target *targets = give_rows(&pass, count);
    for (size_t i = 0; i < class->near.n_terms; i++) {
        free(pass.terms[i].of);
        free(pass.terms[i].seen);
    }
    for (size_t i = 0; i < n; i++) {
        free(pass.refused[i]);
        free(pass.preference[i]);
    }
    free(pass.terms);
    free(pass.refused);
    free(pass.preference);
    return targets;
}

/* ---- what policies see ---- */

static void add_number(cJSON *view, const char *name, int64_t value)
{
    json_set(view, name, cJSON_CreateNumber((double)value));
}

static void view_term(const struct placement *placement, cJSON *view, const struct near_term *term,
                      const int64_t *values)
{
    static const char *const lists[] = {"affinity", "anti_affinity", NULL, "spread"};
    if (!lists[term->role])
        return;
    cJSON *entry = json_push(json_ensure_array(view, lists[term->role]), cJSON_CreateObject());
    json_set_string(entry, "key", placement->topologies[term->topology].key);
    if (values[OF_COUNT] >= 0)
        add_number(entry, "count", values[OF_COUNT]);
    json_set_bool(entry, "matches_itself", term->counts_itself);
    if (term->role == NEAR_AFFINITY)
        json_set_bool(entry, "anywhere", values[OF_TOTAL] > 0);
    if (term->role != NEAR_SPREAD)
        return;
    add_number(entry, "min", values[OF_MIN]);
    add_number(entry, "max", values[OF_MAX]);
    add_number(entry, "domains", values[OF_DOMAINS]);
    add_number(entry, "max_skew", term->max_skew);
    json_set_bool(entry, "hard", term->hard);
}

cJSON *near_view(const struct placement *placement, const struct pod_class *class, const struct near_row *row)
{
    cJSON *view = cJSON_CreateObject();
    const struct near *near = &class->near;
    const int64_t *node = row->values + near->n_terms * PER_TERM;
    for (size_t i = 0; i < near->n_terms; i++)
        view_term(placement, view, &near->terms[i], row->values + i * PER_TERM);
    add_number(view, "refused_by", node[OF_REFUSED]);
    add_number(view, "preference", node[OF_PREFERENCE]);
    add_number(view, "preference_min", node[OF_PREFERENCE_MIN]);
    add_number(view, "preference_max", node[OF_PREFERENCE_MAX]);
    return view;
}
