/* One engine and one plan used by several threads at once, for ThreadSanitizer, which Criterion's
 * tests can't run under. Every thread must get the bits that a single one gets.
 *
 * In: MHA_TEST_DEVICE, part of a platform's name. Exit status: 0 when all agree. */
#include <mha_cl.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, CALLS = 12, HEADS = 3, TOKENS = 37, DIM = 24, FLOATS = HEADS * TOKENS * DIM };

struct shared {
    cl_context context;
    cl_device_id device;
    mha_engine *engine;
    mha_plan *plan;
    size_t workspace_bytes;
    float input[FLOATS], expected[FLOATS];
    atomic_int failures, messages;
};

static void complain(struct shared *s, const char *what, const mha_error *error) {
    fprintf(stderr, "%s: %s\n", what, error ? error->message : "failed");
    ++s->failures;
}

static void count_message(void *user, mha_log_level level, const char *message) {
    (void)level, (void)message;
    ++((struct shared *)user)->messages;
}

static mha_attention_desc describe(int64_t head_dim, uint64_t flags) {
    mha_attention_desc desc = MHA_ATTENTION_DESC_INIT;
    desc.flags = flags;
    desc.q_heads = desc.kv_heads = HEADS;
    desc.head_dim_qk = desc.head_dim_v = head_dim;
    desc.max_batch = 1;
    desc.max_seqlen_q = desc.max_seqlen_kv = TOKENS;
    return desc;
}

/* `calls` calls on a queue of the thread's own; the last one's output. */
static void attend(struct shared *s, int calls, float *output) {
    mha_error error = {0};
    cl_int code;
    cl_command_queue queue = clCreateCommandQueue(s->context, s->device, 0, &code);
    cl_mem in = clCreateBuffer(s->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR,
                               sizeof(s->input), s->input, &code);
    cl_mem out = clCreateBuffer(s->context, CL_MEM_READ_WRITE, sizeof(s->expected), NULL, &code);
    cl_mem workspace = s->workspace_bytes ? clCreateBuffer(s->context, CL_MEM_READ_WRITE,
                                                           s->workspace_bytes, NULL, &code)
                                          : NULL;
    mha_attention_args args = MHA_ATTENTION_ARGS_INIT;
    args.batch = 1;
    args.seqlen_q = args.seqlen_kv = TOKENS;
    args.q = args.k = args.v = mha_tensor_bhnd(in, 0, HEADS, TOKENS, DIM);
    args.o = mha_tensor_bhnd(out, 0, HEADS, TOKENS, DIM);
    args.workspace.buffer = workspace;
    for (int i = 0; i < calls; ++i)
        if (mha_enqueue_attention(s->plan, queue, &args, 0, NULL, NULL, &error))
            complain(s, "mha_enqueue_attention", &error);
    if (clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof(s->expected), output, 0, NULL, NULL))
        complain(s, "clEnqueueReadBuffer", NULL);
    if (workspace)
        clReleaseMemObject(workspace);
    clReleaseMemObject(out);
    clReleaseMemObject(in);
    clReleaseCommandQueue(queue);
}

static void *work(void *user) {
    static atomic_int next;
    struct shared *s = user;
    const int64_t number = next++;
    float output[FLOATS];
    mha_error error = {0};
    mha_plan *plan = NULL;
    /* Two of the threads ask for the same program at once, the others for one of their own. */
    const mha_attention_desc desc = describe(DIM + 8 * (number / 2), number % 2 ? MHA_LSE : 0);
    mha_engine_info info = {.struct_size = sizeof(info)};

    attend(s, CALLS, output);
    if (memcmp(output, s->expected, sizeof(output)))
        complain(s, "a thread's output differs from a single thread's", NULL);
    if (mha_plan_create(s->engine, &desc, &plan, &error))
        complain(s, "mha_plan_create", &error);
    if (mha_engine_get_info(s->engine, &info, &error))
        complain(s, "mha_engine_get_info", &error);
    mha_plan_destroy(&plan);
    return NULL;
}

static cl_device_id find_device(const char *part) {
    cl_platform_id platforms[16];
    cl_uint n = 0;
    if (clGetPlatformIDs(16, platforms, &n))
        return NULL;
    for (cl_uint i = 0; i < n && i < 16; ++i) {
        char name[256] = "";
        cl_device_id device;
        clGetPlatformInfo(platforms[i], CL_PLATFORM_NAME, sizeof(name) - 1, name, NULL);
        if (strstr(name, part) &&
            !clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 1, &device, NULL))
            return device;
    }
    return NULL;
}

int main(void) {
    static struct shared s;
    const char *part = getenv("MHA_TEST_DEVICE");
    mha_error error = {0};
    cl_int code;
    s.device = find_device(part ? part : "");
    if (!s.device) {
        fprintf(stderr, "no device of a platform named %s\n", part ? part : "");
        return 1;
    }
    s.context = clCreateContext(NULL, 1, &s.device, NULL, NULL, &code);
    for (int i = 0; i < FLOATS; ++i)
        s.input[i] = (float)((i * 7919) % 1000) / 500 - 1;

    mha_engine_desc setup = MHA_ENGINE_DESC_INIT;
    setup.context = s.context;
    setup.device = s.device;
    setup.log = count_message;
    setup.log_user = &s;
    const mha_attention_desc desc = describe(DIM, 0);
    mha_plan_info info = {.struct_size = sizeof(info)};
    if (mha_engine_create(&setup, &s.engine, &error) ||
        mha_plan_create(s.engine, &desc, &s.plan, &error) ||
        mha_plan_get_info(s.plan, &info, &error)) {
        complain(&s, "setting up", &error);
    } else {
        pthread_t threads[THREADS];
        s.workspace_bytes = info.workspace_bytes;
        attend(&s, 1, s.expected);
        for (int i = 0; i < THREADS; ++i)
            pthread_create(&threads[i], NULL, work, &s);
        for (int i = 0; i < THREADS; ++i)
            pthread_join(threads[i], NULL);
        printf("%d threads, %d calls each, variant %s: %d failures\n", THREADS, CALLS, info.variant,
               (int)s.failures);
    }
    mha_plan_destroy(&s.plan);
    mha_engine_destroy(&s.engine);
    clReleaseContext(s.context);
    return s.failures != 0;
}
