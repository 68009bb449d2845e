/* The subresource blobs: bytes beside objects, by digest, with their object's life; a server without a folder
 * for them says so. */
#include "api_test.h"
#include "store/blobs.h"

#define JOBS "/apis/minik8s.io/v1/namespaces/default/gpujobs"
#define JOB "{'apiVersion':'minik8s.io/v1','kind':'GPUJob','metadata':{'name':'j'},'spec':{'run':'true'}}"

static char *blobs_folder(const struct world *w)
{
    return file_join(w->directory, "blobs");
}

static void open_blobs(struct world *w)
{
    auto_free char *folder = blobs_folder(w);
    w->options.blobs = blobs_open(folder, 1 << 20, NULL);
    assert_non_null(w->options.blobs);
}

static char backups[64];

static int setup_blobs(void **state)
{
    struct world *w = world_new(true, false);
    world_close(w);
    open_blobs(w);
    snprintf(backups, sizeof backups, "/tmp/m8-backups-%d", (int)getpid());
    w->options.backups = backups;
    world_open(w);
    *state = w;
    return 0;
}

static int teardown_blobs(void **state)
{
    struct world *w = *state;
    struct blobs *blobs = w->options.blobs;
    world_close(w);
    blobs_close(blobs);
    file_remove_tree(backups, NULL);
    w->options.blobs = NULL;
    w->options.backups = NULL;
    world_open(w);
    world_free(w);
    return 0;
}

static int put(struct world *w, const char *job, const char *digest, const char *text)
{
    auto_free char *target = mem_printf(JOBS "/%s/blobs/%s", job, digest);
    auto_reply reply = ask_client(w, w->client, "PUT", target, "application/octet-stream", NULL, text);
    return reply.status;
}

static int get(struct world *w, const char *target, const char *wanted)
{
    auto_reply reply = ask_client(w, w->client, "GET", target, NULL, NULL, NULL);
    if (wanted)
        assert_string_equal(reply.text, wanted);
    return reply.status;
}

static void create_job(struct world *w)
{
    auto_reply reply = ask_client(w, w->client, "POST", JOBS, "application/json", NULL, JOB);
    assert_int_equal(reply.status, 201);
}

static size_t owners(struct world *w)
{
    size_t count = 0;
    auto_free char *folder = blobs_folder(w);
    auto_free char **names = file_list(folder, &count, NULL);
    return count;
}

static void blobs_belong_to_their_object(void **state)
{
    struct world *w = *state;
    char digest[BLOB_DIGEST], other[BLOB_DIGEST];
    blob_digest("hello", 5, digest);
    blob_digest("bye", 3, other);
    auto_free char *target = mem_printf(JOBS "/j/blobs/%s", digest);
    assert_int_equal(put(w, "j", digest, "hello"), 404); /* no such object */
    create_job(w);
    assert_int_equal(get(w, target, NULL), 404);
    assert_int_equal(put(w, "j", digest, "hello"), 200);
    assert_int_equal(put(w, "j", digest, "hello"), 200);
    assert_int_equal(get(w, target, "hello"), 200);
    assert_int_equal(put(w, "j", other, "hello"), 422);
    assert_int_equal(put(w, "j", "short", "hello"), 400);
    assert_int_equal(get(w, JOBS "/j/blobs", NULL), 400);
    auto_reply posted = ask_client(w, w->client, "POST", target, "application/octet-stream", NULL, "hello");
    assert_int_equal(posted.status, 405);
    auto_free char *pod = mem_printf("/api/v1/namespaces/default/pods/p/blobs/%s", digest);
    assert_int_equal(get(w, pod, NULL), 404); /* a kind that has none */
    auto_reply gone = ask_client(w, w->client, "DELETE", JOBS "/j", NULL, NULL, NULL);
    assert_int_equal(gone.status, 200);
    for (int i = 0; i < 2000 && owners(w); i++)
        turn(w);
    assert_int_equal(owners(w), 0);
}

static void a_start_drops_what_belongs_to_nobody(void **state)
{
    struct world *w = *state;
    char digest[BLOB_DIGEST];
    blob_digest("kept", 4, digest);
    create_job(w);
    assert_int_equal(put(w, "j", digest, "kept"), 200);
    struct blobs *blobs = w->options.blobs;
    assert_int_equal(blobs_put(blobs, "11111111-0000-4000-8000-000000000000", digest, "kept", 4, 100, NULL),
                     0);
    assert_int_equal(owners(w), 2);
    world_close(w);
    blobs_close(blobs);
    open_blobs(w);
    world_open(w);
    assert_int_equal(owners(w), 1);
    auto_free char *target = mem_printf(JOBS "/j/blobs/%s", digest);
    assert_int_equal(get(w, target, "kept"), 200);
}

#define BACKUPS "/apis/minik8s.io/v1/backups"

static int back_up(struct world *w, struct http_client *client, const char *body)
{
    auto_reply reply = ask_client(w, client, "POST", BACKUPS, "application/json", NULL, body);
    return reply.status;
}

static void a_backup_has_objects_and_blobs(void **state)
{
    struct world *w = *state;
    char digest[BLOB_DIGEST];
    blob_digest("hello", 5, digest);
    create_job(w);
    assert_int_equal(put(w, "j", digest, "hello"), 200);
    assert_int_equal(back_up(w, w->client, "{'name':'../x'}"), 400);
    assert_int_equal(back_up(w, w->client, "{'name':'one'}"), 201);
    assert_int_equal(back_up(w, w->client, "{'name':'one'}"), 409);
    assert_int_equal(back_up(w, w->client, "{}"), 201);
    auto_free char *folder = mem_printf("%s/one/blobs", backups);
    auto_free char *store = mem_printf("%s/one/store/store.mdb", backups);
    auto_free char **owners = file_list(folder, NULL, NULL);
    assert_true(owners && owners[0]);
    auto_free char *blob = mem_printf("%s/%s/%s", folder, owners[0], digest);
    assert_true(file_exists(blob));
    assert_true(file_exists(store));
}

static void without_a_folder_it_says_so(void **state)
{
    struct world *w = *state;
    char digest[BLOB_DIGEST];
    assert_int_equal(back_up(w, w->client, "{}"), 503);
    blob_digest("x", 1, digest);
    create_job(w);
    assert_int_equal(put(w, "j", digest, "x"), 503);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(blobs_belong_to_their_object, setup_blobs, teardown_blobs),
        cmocka_unit_test_setup_teardown(a_start_drops_what_belongs_to_nobody, setup_blobs, teardown_blobs),
        cmocka_unit_test_setup_teardown(a_backup_has_objects_and_blobs, setup_blobs, teardown_blobs),
        cmocka_unit_test_setup_teardown(without_a_folder_it_says_so, setup_real, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
