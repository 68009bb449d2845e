/*
 * err: see err.h. One table (ERR_CODES) gives codes, HTTP statuses, Kubernetes reasons and the names that Lua
 * sees. Does not log. Invariant: a struct err always has a message (never NULL).
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

static char *format_text(const char *format, va_list arguments)
{
    struct str text = {0};
    str_vaddf(&text, format, arguments);
    return str_take(&text);
}

static struct err *err_new(enum err_code code, char *message)
{
    struct err *error = NEW(struct err);
    error->code = code;
    error->message = message;
    return error;
}

int err_set(struct err **err, enum err_code code, const char *format, ...)
{
    if (!err || *err)
        return -1;
    va_list arguments;
    va_start(arguments, format);
    *err = err_new(code, format_text(format, arguments));
    va_end(arguments);
    return -1;
}

int err_errno(struct err **err, int errnum, const char *format, ...)
{
    if (!err || *err)
        return -1;
    enum err_code code = ERR_IO;
    if (errnum == ENOENT)
        code = ERR_NOT_FOUND;
    else if (errnum == EACCES || errnum == EPERM)
        code = ERR_FORBIDDEN;
    va_list arguments;
    va_start(arguments, format);
    auto_free char *doing = format_text(format, arguments);
    va_end(arguments);
    char buffer[128];
    *err = err_new(code, mem_printf("%s: %s", doing, strerror_r(errnum, buffer, sizeof(buffer))));
    return -1;
}

int err_wrap(struct err **err, const char *format, ...)
{
    if (!err || !*err)
        return -1;
    va_list arguments;
    va_start(arguments, format);
    auto_free char *doing = format_text(format, arguments);
    va_end(arguments);
    auto_free char *old = (*err)->message;
    (*err)->message = mem_printf("%s: %s", doing, old);
    return -1;
}

int err_add_cause(struct err **err, const char *reason, const char *field, const char *format, ...)
{
    if (!err)
        return -1;
    va_list arguments;
    va_start(arguments, format);
    char *message = format_text(format, arguments);
    va_end(arguments);
    if (!*err)
        *err = err_new(ERR_INVALID,
                       str_empty(field) ? mem_strdup(message) : mem_printf("%s: %s", field, message));
    struct err *error = *err;
    error->causes = mem_resize(error->causes, error->n_causes + 1, sizeof(*error->causes));
    error->causes[error->n_causes++] =
        (struct err_cause){.reason = mem_strdup(reason), .field = mem_strdup(field), .message = message};
    return -1;
}

int err_move(struct err **to, struct err **from)
{
    struct err *error = *from;
    *from = NULL;
    if (to && !*to)
        *to = error;
    else
        err_free(error);
    return -1;
}

struct err *err_copy(const struct err *error)
{
    if (!error)
        return NULL;
    struct err *copy = err_new(error->code, mem_strdup(error->message));
    if (!error->n_causes)
        return copy;
    copy->n_causes = error->n_causes;
    copy->causes = mem_array(error->n_causes, sizeof(*copy->causes));
    for (size_t i = 0; i < error->n_causes; i++) {
        copy->causes[i].reason = mem_strdup(error->causes[i].reason);
        copy->causes[i].field = mem_strdup(error->causes[i].field);
        copy->causes[i].message = mem_strdup(error->causes[i].message);
    }
    return copy;
}

void err_free(struct err *error)
{
    if (!error)
        return;
    for (size_t i = 0; i < error->n_causes; i++) {
        free(error->causes[i].reason);
        free(error->causes[i].field);
        free(error->causes[i].message);
    }
    free(error->causes);
    free(error->message);
    free(error);
}

enum err_code err_code(const struct err *error)
{
    return error ? error->code : ERR_NONE;
}

const char *err_message(const struct err *error)
{
    return error ? error->message : "no error";
}

int err_http_status(enum err_code code)
{
    switch (code) {
#define ERR_STATUS(name, status, reason)                                                                     \
    case ERR_##name:                                                                                         \
        return status;
        ERR_CODES(ERR_STATUS)
#undef ERR_STATUS
    case ERR_NONE:
        return 200;
    }
    return 500;
}

const char *err_reason(enum err_code code)
{
    switch (code) {
#define ERR_REASON(name, status, reason)                                                                     \
    case ERR_##name:                                                                                         \
        return reason;
        ERR_CODES(ERR_REASON)
#undef ERR_REASON
    case ERR_NONE:
        return "";
    }
    return "InternalError";
}

const char *err_code_name(enum err_code code)
{
    /* Spelled out rather than lowered at run time: the names are constants that any thread may keep. */
    switch (code) {
    case ERR_NONE:
        return "none";
    case ERR_BAD_REQUEST:
        return "bad-request";
    case ERR_UNAUTHORIZED:
        return "unauthorized";
    case ERR_FORBIDDEN:
        return "forbidden";
    case ERR_NOT_FOUND:
        return "not-found";
    case ERR_METHOD_NOT_ALLOWED:
        return "method-not-allowed";
    case ERR_NOT_ACCEPTABLE:
        return "not-acceptable";
    case ERR_ALREADY_EXISTS:
        return "already-exists";
    case ERR_CONFLICT:
        return "conflict";
    case ERR_GONE:
        return "gone";
    case ERR_TOO_LARGE:
        return "too-large";
    case ERR_UNSUPPORTED_MEDIA_TYPE:
        return "unsupported-media-type";
    case ERR_INVALID:
        return "invalid";
    case ERR_TOO_MANY_REQUESTS:
        return "too-many-requests";
    case ERR_INTERNAL:
        return "internal";
    case ERR_UNAVAILABLE:
        return "unavailable";
    case ERR_TIMEOUT:
        return "timeout";
    case ERR_IO:
        return "io";
    case ERR_CANCELLED:
        return "cancelled";
    }
    return "internal";
}

enum err_code err_code_from_status(int http_status, const char *reason)
{
    static const struct {
        enum err_code code;
        int status;
        const char *reason;
    } rows[] = {
#define ERR_ROW(name, http, why) {ERR_##name, http, why},
        ERR_CODES(ERR_ROW)
#undef ERR_ROW
    };
    /* The reason is the finer one (409 is both AlreadyExists and Conflict), but proxies answer with a status
     * only. */
    if (!str_empty(reason)) {
        for (size_t i = 0; i < COUNT_OF(rows); i++)
            if (rows[i].status == http_status && str_eq(rows[i].reason, reason))
                return rows[i].code;
        if (str_eq(reason, "Gone"))
            return ERR_GONE;
    }
    if (http_status == 409)
        return ERR_CONFLICT;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].status == http_status)
            return rows[i].code;
    if (http_status >= 200 && http_status < 300)
        return ERR_NONE;
    return http_status >= 400 && http_status < 500 ? ERR_BAD_REQUEST : ERR_INTERNAL;
}
