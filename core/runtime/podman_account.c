/*
 * podman_account: which groups a container's processes get (Kubernetes' supplementalGroupsPolicy). podman
 * adds the groups that the image's /etc/group names for the user exactly when no group was asked for. Where
 * that is not what is wanted, the account is looked up in the image's layers here and handed over as numbers.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/map.h"
#include "base/str.h"
#include "runtime/podman_internal.h"

#define ACCOUNTS_MAX_BYTES (1u << 20)
#define PASSWD_FIELDS 4 /* name, password, user id, group id, … */

bool podman_account_needed(const struct runtime_security *s)
{
    return s->strict_groups ? s->group < 0 : s->group >= 0;
}

/* The file as the topmost layer that knows it has it; NULL: there is none. */
static char *image_file(const cJSON *image, const char *name)
{
    auto_free char *layers = mem_printf("%s:%s", json_string_or(image, "GraphDriver.Data.UpperDir", ""),
                                        json_string_or(image, "GraphDriver.Data.LowerDir", ""));
    auto_free char **folders = str_split(layers, ':', NULL);
    for (size_t i = 0; folders[i]; i++) {
        auto_free char *path = file_join(folders[i], name);
        struct stat st;
        char *text = NULL;
        if (str_empty(folders[i]) || lstat(path, &st) < 0)
            continue;
        if (S_ISREG(st.st_mode)) /* else a mark that it was removed, or a link, which may lead anywhere */
            file_read(path, ACCOUNTS_MAX_BYTES, &text, NULL, NULL);
        return text;
    }
    return NULL;
}

/* The first line whose field `index` is `value`, cut into its fields; NULL: none. Caller frees both. */
static char **find_line(const char *text, size_t index, const char *value, char **line)
{
    for (const char *at = text; at && *at; at += strspn(at, "\n")) {
        size_t len = strcspn(at, "\n"), count;
        *line = mem_strndup(at, len);
        char **fields = str_split(*line, ':', &count);
        if (count >= PASSWD_FIELDS && str_eq(fields[index], value))
            return fields;
        free(fields);
        free(steal(line));
        at += len;
    }
    return NULL;
}

static bool is_number(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == 0;
}

struct account {
    char *name, *user, *group; /* user and group as numbers; name NULL: none has this id */
};

/* given: "", USER or USER:GROUP, each a name or a number. False: a name that the image does not know. */
static bool resolve(struct account *account, const char *given, const char *passwd, const char *groups)
{
    auto_free char *user = mem_strndup(given, strcspn(given, ":")), *line = NULL;
    const char *group = strchr(given, ':');
    if (!*user) {
        free(user);
        user = mem_strdup("0");
    }
    auto_free char **fields = find_line(passwd, is_number(user) ? 2 : 0, user, &line);
    if (!fields && !is_number(user))
        return false;
    account->name = fields ? mem_strdup(fields[0]) : NULL;
    account->user = mem_strdup(fields ? fields[2] : user);
    account->group = mem_strdup(fields ? fields[3] : "0");
    if (!group || !group[1])
        return true;
    auto_free char *group_line = NULL;
    auto_free char **found = is_number(group + 1) ? NULL : find_line(groups, 0, group + 1, &group_line);
    if (!found && !is_number(group + 1))
        return false;
    free(account->group);
    account->group = mem_strdup(found ? found[2] : group + 1);
    return true;
}

static void add_group(cJSON *body, const char *group)
{
    cJSON *groups = json_ensure_array(body, "groups");
    json_each (known, groups)
        if (str_eq(known->valuestring, group))
            return;
    json_push_string(groups, group);
}

/* Groups whose list of members has the name. */
static void add_memberships(cJSON *body, const char *name, const char *text)
{
    for (const char *at = text; at && *at; at += strspn(at, "\n")) {
        size_t len = strcspn(at, "\n"), count;
        auto_free char *line = mem_strndup(at, len);
        auto_free char **fields = str_split(line, ':', &count);
        auto_free char **members = count >= PASSWD_FIELDS ? str_split(fields[3], ',', NULL) : NULL;
        for (size_t i = 0; members && members[i]; i++)
            if (str_eq(members[i], name) && is_number(fields[2]))
                add_group(body, fields[2]);
        at += len;
    }
}

void podman_account_apply(cJSON *body, const struct podman_account *wanted, const cJSON *image)
{
    auto_free char *passwd = image_file(image, "etc/passwd"), *groups = image_file(image, "etc/group");
    auto_free char *number = mem_printf("%lld", (long long)wanted->user);
    struct account account = {0};
    const char *given = wanted->user >= 0 ? number : json_string_or(image, "Config.User", "");
    if (resolve(&account, given, passwd, groups)) {
        auto_free char *user = wanted->group >= 0
                                   ? mem_printf("%s:%lld", account.user, (long long)wanted->group)
                                   : mem_printf("%s:%s", account.user, account.group);
        json_set_string(body, "user", user);
        if (!wanted->strict && account.name)
            add_memberships(body, account.name, groups);
    } /* else podman says which name is unknown */
    free(account.name);
    free(account.user);
    free(account.group);
}
