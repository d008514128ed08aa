/* A CUDA driver on the host's memory, which the real pycuda and cuda-python load as libcuda.so.1.

   It holds what the CUDA layer uses: the primary context and a stack of current contexts a thread,
   memory, streams whose work happens when somebody waits, events, graphs, and one kernel,
   y[i] = 2 x[i] + 1, whatever module it is given.  fake_fail_at(n) lets the n-th call fail, which
   fake_refused() names; fake_books() and fake_wrong() say what was not given back and what was
   misused.  */

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY 512
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_CONTEXT = 201, BAD_HANDLE = 400, NOT_FOUND = 500,
       NOT_READY = 600, UNKNOWN = 999 };
enum { DEVICE, HOST, STREAM, EVENT, GRAPH, EXEC, MODULE, KINDS };
static const char *const NAMES[KINDS] = {"device memory", "host memory", "streams", "events",
                                         "graphs", "executable graphs", "modules"};

typedef struct { int kind, a; uintptr_t to, from; size_t n; } Work;
typedef struct { Work work[MANY]; int count; } Queue;
typedef struct { int kind; uintptr_t handle; size_t n; Queue *queue, *capture; double time; } Thing;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Thing things[MANY];
static int retained, calls, fail_at, wrong_count;
static char wrong[256], refused[64];
static double now;
static uintptr_t next_handle = 0x1000;
static __thread int depth;
static int depths;

void fake_fail_at(int n) { fail_at = n; calls = 0; }
int fake_calls(void) { return calls; }
const char *fake_wrong(void) { return wrong; }
const char *fake_refused(void) { return refused; }
const char *fake_books(void)
{
  static char text[512];
  int counts[KINDS] = {0};
  text[0] = 0;
  for (int i = 0; i < MANY; i++)
    if (things[i].handle) counts[things[i].kind]++;
  for (int k = 0; k < KINDS; k++)
    if (counts[k]) sprintf(text + strlen(text), "%d %s, ", counts[k], NAMES[k]);
  if (retained) sprintf(text + strlen(text), "%d uses of the context, ", retained);
  if (depths) sprintf(text + strlen(text), "%d current contexts, ", depths);
  return text;
}

void fake_reset(void)
{
  memset(things, 0, sizeof things);
  retained = depths = depth = wrong_count = 0;
  wrong[0] = 0;
}

static int misuse(const char *what, int status)
{
  if (!wrong_count++) snprintf(wrong, sizeof wrong, "%s", what);
  return status;
}

static int begin(const char *name, int context)
{
  pthread_mutex_lock(&lock);
  if (++calls == fail_at) {
    snprintf(refused, sizeof refused, "%s", name);
    return UNKNOWN;
  }
  if (context && !depth) return misuse(name, NO_CONTEXT);
  return OK;
}
#define BEGIN(context) int status = begin(__func__, context); if (status) goto end;
#define END end: pthread_mutex_unlock(&lock); return status;

static Thing *find(int kind, uintptr_t handle)
{
  for (int i = 0; i < MANY; i++)
    if (things[i].handle && things[i].kind == kind && things[i].handle == handle) return things + i;
  return NULL;
}
static Thing *add(int kind, uintptr_t handle)
{
  for (int i = 0; i < MANY; i++)
    if (!things[i].handle) {
      memset(things + i, 0, sizeof(Thing));
      things[i].kind = kind;
      things[i].handle = handle ? handle : (next_handle += 16);
      return things + i;
    }
  abort();
}
static int drop(int kind, uintptr_t handle)
{
  Thing *t = find(kind, handle);
  if (!t) return misuse("freed what is not there", BAD_HANDLE);
  free(t->queue);
  free(t->capture);
  t->handle = 0;
  return OK;
}
static int room(int kind, uintptr_t at, size_t n)
{
  for (int i = 0; i < MANY; i++)
    if (things[i].handle && things[i].kind == kind && at >= things[i].handle &&
        at + n <= things[i].handle + things[i].n)
      return 1;
  return 0;
}
static int enqueue(uintptr_t stream, Work work)
{
  Thing *s = find(STREAM, stream);
  if (!s) return misuse("work for a stream that is not there", BAD_HANDLE);
  Queue *q = s->capture ? s->capture : s->queue;
  if (q->count == MANY) abort();
  q->work[q->count++] = work;
  return OK;
}
enum { TO_DEVICE, TO_HOST, RECORD, KERNEL };
static int check_room(Work w)
{
  return room(w.kind == TO_HOST ? HOST : DEVICE, w.to, w.n) &&
         room(w.kind == TO_DEVICE ? HOST : DEVICE, w.from, w.n);
}
static void perform(Work w)
{
  now += 1;
  if (w.kind == RECORD) {
    Thing *e = find(EVENT, w.to);
    if (e) e->time = now; else misuse("an event went before it happened", 0);
    return;
  }
  if (!check_room(w)) { misuse("memory went before it was used", 0); return; }
  if (w.kind == KERNEL)
    for (int i = 0; i < w.a; i++) ((float *)w.to)[i] = 2 * ((float *)w.from)[i] + 1;
  else
    memmove((void *)w.to, (void *)w.from, w.n);
}

int cuInit(unsigned flags) { BEGIN(0) END }
int cuDriverGetVersion(int *v) { *v = 13020; return OK; }
int cuGetErrorName(int s, const char **t) { *t = s == UNKNOWN ? "CUDA_ERROR_UNKNOWN" : "ERROR"; return OK; }
int cuGetErrorString(int s, const char **t) { return cuGetErrorName(s, t); }
int cuDeviceGetCount(int *n) { BEGIN(0) *n = 1; END }
int cuDeviceGet(int *d, int i) { BEGIN(0) *d = i; if (i) status = 101; END }
int cuDeviceGetName(char *t, int n, int d) { snprintf(t, n, "No GPU at all"); return OK; }
int cuDeviceTotalMem_v2(size_t *n, int d) { *n = (size_t)8 << 30; return OK; }
int cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 75 ? 8 : a == 76 ? 6 : 1; return OK; }
int cuDeviceComputeCapability(int *a, int *b, int d) { *a = 8; *b = 6; return OK; }
int cuDevicePrimaryCtxRetain(uintptr_t *c, int d) { BEGIN(0) retained++; *c = 0x77; END }
int cuDevicePrimaryCtxRelease_v2(int d)
{
  BEGIN(0)
  if (!retained) status = misuse("released once too often", NO_CONTEXT); else retained--;
  for (int i = 0; !retained && i < MANY; i++)
    if (things[i].handle) misuse("the context went before what was made in it", 0);
  END
}
int cuCtxPushCurrent_v2(uintptr_t c)
{
  BEGIN(0)
  if (!retained || c != 0x77) status = misuse("made a released context current", NO_CONTEXT);
  else depth++, depths++;
  END
}
int cuCtxPopCurrent_v2(uintptr_t *c) { BEGIN(1) depth--, depths--; if (c) *c = 0x77; END }
int cuCtxGetDevice(int *d) { BEGIN(1) *d = 0; END }
int cuCtxGetCurrent(uintptr_t *c) { *c = depth ? 0x77 : 0; return OK; }
int cuCtxSynchronize(void) { BEGIN(1) END }
int cuMemGetInfo_v2(size_t *f, size_t *t)
{
  BEGIN(1)
  *t = *f = (size_t)8 << 30;
  for (int i = 0; i < MANY; i++)
    if (things[i].handle && things[i].kind == DEVICE) *f -= things[i].n;
  END
}

static int allocate(int kind, uintptr_t *p, size_t n)
{
  if (!n) return misuse("an allocation of nothing", INVALID);
  *p = (uintptr_t)malloc(n);
  memset((void *)*p, 0xa5, n);
  add(kind, *p)->n = n;
  return OK;
}
int cuMemAlloc_v2(uintptr_t *p, size_t n) { BEGIN(1) status = allocate(DEVICE, p, n); END }
int cuMemHostAlloc(uintptr_t *p, size_t n, unsigned f) { BEGIN(1) status = allocate(HOST, p, n); END }
int cuMemFree_v2(uintptr_t p) { BEGIN(1) status = drop(DEVICE, p); if (!status) free((void *)p); END }
int cuMemFreeHost(uintptr_t p) { BEGIN(1) status = drop(HOST, p); if (!status) free((void *)p); END }

static int copy(Work w, uintptr_t stream)
{
  if (!check_room(w)) return misuse("a copy of a wrong size", INVALID);
  return enqueue(stream, w);
}
int cuMemcpyHtoDAsync_v2(uintptr_t to, uintptr_t from, size_t n, uintptr_t s)
{
  BEGIN(1) status = copy((Work){TO_DEVICE, 0, to, from, n}, s); END
}
int cuMemcpyDtoHAsync_v2(uintptr_t to, uintptr_t from, size_t n, uintptr_t s)
{
  BEGIN(1) status = copy((Work){TO_HOST, 0, to, from, n}, s); END
}

int cuStreamCreate(uintptr_t *s, unsigned f)
{
  BEGIN(1)
  Thing *t = add(STREAM, 0);
  t->queue = calloc(1, sizeof(Queue));
  *s = t->handle;
  END
}
int cuStreamDestroy_v2(uintptr_t s)
{
  BEGIN(1)
  Thing *t = find(STREAM, s);
  if (t && t->queue->count) misuse("destroyed a stream before its work was done", 0);
  status = drop(STREAM, s);
  END
}
int cuStreamSynchronize(uintptr_t s)
{
  BEGIN(1)
  Thing *t = find(STREAM, s);
  if (!t || t->capture) { status = misuse("waited for no stream, or a captured one", BAD_HANDLE); goto end; }
  for (int i = 0; i < t->queue->count; i++) perform(t->queue->work[i]);
  t->queue->count = 0;
  END
}
int cuEventCreate(uintptr_t *e, unsigned f) { BEGIN(1) *e = add(EVENT, 0)->handle; END }
int cuEventDestroy_v2(uintptr_t e) { BEGIN(1) status = drop(EVENT, e); END }
int cuEventRecord(uintptr_t e, uintptr_t s)
{
  BEGIN(1)
  Thing *t = find(EVENT, e);
  if (!t) status = misuse("recorded no event", BAD_HANDLE);
  else t->time = 0, status = enqueue(s, (Work){RECORD, 0, e, 0, 0});
  END
}
int cuEventElapsedTime_v2(float *ms, uintptr_t a, uintptr_t b)
{
  BEGIN(1)
  Thing *first = find(EVENT, a), *last = find(EVENT, b);
  if (!first || !last || !first->time || !last->time) status = misuse("no such time", NOT_READY);
  else *ms = (float)(last->time - first->time);
  END
}
int cuEventElapsedTime(float *ms, uintptr_t a, uintptr_t b) { return cuEventElapsedTime_v2(ms, a, b); }

int cuStreamBeginCapture_v2(uintptr_t s, int mode)
{
  BEGIN(1)
  Thing *t = find(STREAM, s);
  if (!t || t->capture || mode != 1) status = misuse("captured wrongly", BAD_HANDLE);
  else t->capture = calloc(1, sizeof(Queue));
  END
}
int cuStreamEndCapture(uintptr_t s, uintptr_t *g)
{
  Thing *t = find(STREAM, s);
  Queue *captured = t ? t->capture : NULL;
  if (t) t->capture = NULL;
  BEGIN(1)
  if (!captured) { status = misuse("ended no capture", BAD_HANDLE); goto end; }
  Thing *graph = add(GRAPH, 0);
  graph->queue = captured;
  *g = graph->handle;
  END
}
int cuGraphInstantiateWithFlags(uintptr_t *x, uintptr_t g, unsigned long long f)
{
  BEGIN(1)
  Thing *graph = find(GRAPH, g);
  if (!graph) { status = misuse("instantiated no graph", BAD_HANDLE); goto end; }
  Thing *exec = add(EXEC, 0);
  exec->queue = malloc(sizeof(Queue));
  *exec->queue = *graph->queue;
  *x = exec->handle;
  END
}
int cuGraphDestroy(uintptr_t g) { BEGIN(1) status = drop(GRAPH, g); END }
int cuGraphExecDestroy(uintptr_t x) { BEGIN(1) status = drop(EXEC, x); END }
int cuGraphLaunch(uintptr_t x, uintptr_t s)
{
  BEGIN(1)
  Thing *exec = find(EXEC, x);
  if (!exec) { status = misuse("launched no graph", BAD_HANDLE); goto end; }
  for (int i = 0; !status && i < exec->queue->count; i++) status = enqueue(s, exec->queue->work[i]);
  END
}

int cuModuleLoadData(uintptr_t *m, const void *image) { BEGIN(1) *m = add(MODULE, 0)->handle; END }
int cuModuleLoadDataEx(uintptr_t *m, const void *image, unsigned n, int *o, void **v)
{
  return cuModuleLoadData(m, image);
}
int cuModuleUnload(uintptr_t m) { BEGIN(1) status = drop(MODULE, m); END }
int cuModuleGetFunction(uintptr_t *f, uintptr_t m, const char *name)
{
  BEGIN(1)
  if (!find(MODULE, m)) status = misuse("a function of no module", BAD_HANDLE);
  *f = m;
  END
}
int cuLaunchKernel(uintptr_t f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz, unsigned shared, uintptr_t stream, void **each, void **extra)
{
  BEGIN(1)
  uintptr_t x, y;
  int n;
  if (each) {
    x = *(uintptr_t *)each[0], y = *(uintptr_t *)each[1], n = *(int *)each[2];
  } else {
    /* CU_LAUNCH_PARAM_BUFFER_POINTER, the buffer, ... */
    char *buffer = extra[1];
    memcpy(&x, buffer, 8), memcpy(&y, buffer + 8, 8), memcpy(&n, buffer + 16, 4);
  }
  if (!find(MODULE, f) || n != (int)(gx * bx)) status = misuse("launched wrongly", INVALID);
  else status = enqueue(stream, (Work){KERNEL, n, y, x, (size_t)n * 4});
  END
}
int cuFuncSetBlockShape(uintptr_t f, int x, int y, int z) { return OK; }
int cuFuncSetSharedSize(uintptr_t f, unsigned n) { return OK; }

/* How cuda-python finds every function; what is not here is not found. */
extern void *dlsym(void *, const char *);
int cuGetProcAddress_v2(const char *name, void **at, int version, uint64_t flags, int *found)
{
  static const char *const SUFFIXES[] = {"_v2", "WithFlags", ""};
  char full[128];
  *at = NULL;
  for (int i = 0; i < 3 && !*at; i++) {
    snprintf(full, sizeof full, "%s%s", name, SUFFIXES[i]);
    *at = dlsym(NULL, full);
  }
  if (found) *found = *at ? 0 : 1;
  return *at ? OK : NOT_FOUND;
}
int cuGetProcAddress(const char *name, void **at, int version, uint64_t flags)
{
  return cuGetProcAddress_v2(name, at, version, flags, NULL);
}
