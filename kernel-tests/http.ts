// HTTP for tests: a server that says what it was asked, one question, and a client that goes on asking over connections that it keeps.
import { spawn, type ChildProcess } from 'node:child_process';

/** Answers every request with JSON: method, path, headers, the client's address. HTTP/1.1, both families, connections are kept. */
export const httpServer = (...ports: number[]): string[] => ['python3', '-u', '-c', `
import http.server, json, socket, sys, threading
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self):
        self.rfile.read(int(self.headers.get('content-length', 0)))
        body = json.dumps({'method': self.command, 'path': self.path, 'headers': {name.lower(): value for name, value in self.headers.items()}, 'client': self.client_address[0].replace('::ffff:', '')}).encode()
        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)
    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    address_family, daemon_threads, request_queue_size = socket.AF_INET6, True, 1024
for port in json.loads(sys.argv[1]): threading.Thread(target=Server(('::', port), Answer).serve_forever).start()
`, JSON.stringify(ports)];

export interface Asked { readonly method?: string; readonly path: string; readonly headers?: Readonly<Record<string, string>> }
/** `code` 0: no answer; `body` then says why. */
export interface Answered { readonly code: number; readonly body: string }

/** All of them, each over a connection of its own; prints Answered[] as JSON. */
export const asking = (address: string, port: number, requests: readonly Asked[]): string[] => ['python3', '-c', `
import http.client, json, sys
address, port, requests = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
answers = []
for one in requests:
    try:
        connection = http.client.HTTPConnection(address, port, timeout=5)
        connection.request(one.get('method', 'GET'), one['path'], headers=one.get('headers', {}))
        answer = connection.getresponse(); answers.append({'code': answer.status, 'body': answer.read().decode()}); connection.close()
    except (OSError, http.client.HTTPException) as error: answers.append({'code': 0, 'body': repr(error)})
print(json.dumps(answers))
`, address, String(port), JSON.stringify(requests)];

/** Of what `asking` printed. */
export function codesOf({ out, error }: { readonly out: string; readonly error: string }): number[] {
  if (out === '') throw new Error(error);
  return (JSON.parse(out) as Answered[]).map(({ code }) => code);
}

const running = new Set<ChildProcess>();
/** For a test that failed in between. */
export const endLoads = (): void => { for (const child of running) child.kill('SIGKILL'); };

/** `failed`: no answer, or a connection that ended under a request. `longestMs`: between two answers. */
export interface LoadEnd { readonly codes: Readonly<Record<string, number>>; readonly failed: number; readonly errors: readonly string[]; readonly longestMs: number; readonly firstOf: Readonly<Record<string, number>> }

/** Asks over connections that are kept, one request at a time each, until `stop`. */
export class Load {
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;

  /** `shimPid`: of the workload in whose network namespace it runs. `fresh`: each request over a connection of its own. */
  constructor(shimPid: number, address: string, port: number, path: string, { connections = 4, fresh = false } = {}) {
    this.#child = spawn('nsenter', [`--net=/proc/${shimPid}/ns/net`, 'python3', '-u', '-c', `
import collections, http.client, json, sys, threading, time
address, port, path, connections, fresh = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5] == 'true'
codes, errors, first, longest, failed, stopping = collections.Counter(), [], {}, 0.0, 0, False
def ask():
    global longest, failed
    connection, last = None, time.monotonic()
    while not stopping:
        try:
            if connection is None: connection = http.client.HTTPConnection(address, port, timeout=10)
            connection.request('GET', path); answer = connection.getresponse(); answer.read()
            codes[answer.status] += 1; first.setdefault(answer.status, time.time() * 1000)
            now = time.monotonic(); longest = max(longest, now - last); last = now
            if fresh or answer.will_close: connection.close(); connection = None
        except (OSError, http.client.HTTPException) as error:
            failed += 1; errors.append(repr(error)); connection.close(); connection = None
        time.sleep(0.002)
threads = [threading.Thread(target=ask) for _ in range(connections)]
for thread in threads: thread.start()
sys.stdin.read()
stopping = True
for thread in threads: thread.join()
print(json.dumps({'codes': codes, 'failed': failed, 'errors': errors[:5], 'longestMs': longest * 1000, 'firstOf': first}))
`, address, String(port), path, String(connections), String(fresh)], { stdio: ['pipe', 'pipe', 'inherit'] });
    running.add(this.#child);
    let out = '';
    this.#child.stdout!.on('data', (data: Buffer) => { out += data.toString(); });
    this.#ended = new Promise((resolve) => {
      this.#child.once('close', () => {
        running.delete(this.#child);
        resolve(out);
      });
    });
  }

  async stop(): Promise<LoadEnd> {
    this.#child.stdin!.end();
    return JSON.parse(await this.#ended) as LoadEnd;
  }
}
