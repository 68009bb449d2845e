/*
 * err: how every function of minik8s reports failure.
 *
 * Contract: a function that can fail takes `struct err **err` as its last argument and returns 0 or a pointer
 * on success, a negative number or NULL on failure. *err is untouched on success. A caller that does not care
 * passes NULL. The caller owns the error and frees it with err_free (or `auto_err`). Not thread-safe per
 * object.
 */
#ifndef M8_BASE_ERR_H
#define M8_BASE_ERR_H

#include <stddef.h>

/* X(NAME, HTTP status, Kubernetes reason): the one table from which C codes, HTTP statuses and Lua strings
 * come. Source: k8s.io/apimachinery StatusReason. */
#define ERR_CODES(X)                                                                                         \
    X(BAD_REQUEST, 400, "BadRequest")                                                                        \
    X(UNAUTHORIZED, 401, "Unauthorized")                                                                     \
    X(FORBIDDEN, 403, "Forbidden")                                                                           \
    X(NOT_FOUND, 404, "NotFound")                                                                            \
    X(METHOD_NOT_ALLOWED, 405, "MethodNotAllowed")                                                           \
    X(NOT_ACCEPTABLE, 406, "NotAcceptable")                                                                  \
    X(ALREADY_EXISTS, 409, "AlreadyExists")                                                                  \
    X(CONFLICT, 409, "Conflict")                                                                             \
    X(GONE, 410, "Expired")                                                                                  \
    X(TOO_LARGE, 413, "RequestEntityTooLarge")                                                               \
    X(UNSUPPORTED_MEDIA_TYPE, 415, "UnsupportedMediaType")                                                   \
    X(INVALID, 422, "Invalid")                                                                               \
    X(TOO_MANY_REQUESTS, 429, "TooManyRequests")                                                             \
    X(INTERNAL, 500, "InternalError")                                                                        \
    X(UNAVAILABLE, 503, "ServiceUnavailable")                                                                \
    X(TIMEOUT, 504, "Timeout")                                                                               \
    X(IO, 500, "InternalError")                                                                              \
    X(CANCELLED, 500, "InternalError")

enum err_code {
    ERR_NONE = 0,
#define ERR_ENUM(name, status, reason) ERR_##name,
    ERR_CODES(ERR_ENUM)
#undef ERR_ENUM
};

/* One field that is wrong, as in Status.details.causes. */
struct err_cause {
    char
        *reason; /* FieldValueRequired, FieldValueInvalid, FieldValueNotSupported, FieldValueForbidden, ... */
    char *field; /* path, e.g. spec.containers[0].image */
    char *message; /* e.g. `Invalid value: "x": must be ...` */
};

struct err {
    enum err_code code;
    char *message;
    struct err_cause *causes;
    size_t n_causes;
};

/* Sets *err (when err is not NULL and *err is not yet set) and returns -1. */
int err_set(struct err **err, enum err_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a failed system call: appends strerror(errnum); ENOENT → NOT_FOUND, EACCES/EPERM → FORBIDDEN,
 * else IO. */
int err_errno(struct err **err, int errnum, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Prepends "while doing X: " text to an error that is set ("X: old message"); always returns -1. */
int err_wrap(struct err **err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds a cause; creates an ERR_INVALID error if *err is NULL. Always returns -1. */
int err_add_cause(struct err **err, const char *reason, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Moves *from into *to (if `to` is NULL or already set, frees it). Always returns -1. */
int err_move(struct err **to, struct err **from);
struct err *err_copy(const struct err *error);
void err_free(struct err *error);

enum err_code err_code(const struct err *error);  /* ERR_NONE for NULL */
const char *err_message(const struct err *error); /* "no error" for NULL */
int err_http_status(enum err_code code);
const char *err_reason(enum err_code code);    /* Kubernetes' StatusReason */
const char *err_code_name(enum err_code code); /* lower case with dashes, what Lua sees as err.code */
enum err_code err_code_from_status(int http_status, const char *reason); /* the way back, for clients */

static inline void err_cleanup(struct err **error)
{
    err_free(*error);
}
#define auto_err __attribute__((cleanup(err_cleanup))) struct err *

#endif
