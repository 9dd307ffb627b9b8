// TLS for tests: a server of HTTP in TLS, and one question over a connection of its own for each name.

/** Answers every request over TLS with JSON: path, the client's address, the name that it asked for. PEM texts; both families. */
export const tlsServer = (certificate: string, key: string, ...ports: number[]): string[] => ['python3', '-u', '-c', `
import http.server, json, os, socket, ssl, sys, threading
def file(text):
    fd = os.memfd_create('pem'); os.write(fd, text.encode()); return '/proc/self/fd/%d' % fd
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(file(sys.argv[1]), file(sys.argv[2]))
def named(connection, name, _): connection.name = name
context.sni_callback = named
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = json.dumps({'path': self.path, 'client': self.client_address[0].replace('::ffff:', ''), 'name': getattr(self.connection, 'name', None)}).encode()
        self.send_response(200); self.send_header('content-length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    address_family, daemon_threads, request_queue_size = socket.AF_INET6, True, 1024
    # The handshake is for the connection's own thread.
    def finish_request(self, request, address): super().finish_request(context.wrap_socket(request, server_side=True), address)
    def handle_error(self, *_): pass
for port in json.loads(sys.argv[3]): threading.Thread(target=Server(('::', port), Answer).serve_forever).start()
`, certificate, key, JSON.stringify(ports)];

/** `name` undefined: the client hello bears none. */
export interface AskedTls { readonly name?: string | undefined; readonly path: string }
/** `code` 0: no answer; `body` then says why. `by`: the common name of the certificate that was shown. */
export interface AnsweredTls { readonly code: number; readonly body: string; readonly by: string }

/** The server's certificate must be of that CA; prints AnsweredTls[] as JSON. */
export const askingTls = (address: string, port: number, ca: string, requests: readonly AskedTls[]): string[] => ['python3', '-c', `
import http.client, json, socket, ssl, sys
address, port, ca, requests = sys.argv[1], int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
context = ssl.create_default_context(cadata=ca)
context.check_hostname = False
answers = []
for one in requests:
    by = ''
    try:
        with context.wrap_socket(socket.create_connection((address, port), timeout=5), server_hostname=one.get('name')) as s:
            by = dict(pair for part in s.getpeercert()['subject'] for pair in part)['commonName']
            s.sendall(('GET %s HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' % (one['path'], one.get('name') or 'none')).encode())
            answer = http.client.HTTPResponse(s); answer.begin()
            answers.append({'code': answer.status, 'body': answer.read().decode(), 'by': by})
    except (OSError, http.client.HTTPException) as error: answers.append({'code': 0, 'body': repr(error), 'by': by})
print(json.dumps(answers))
`, address, String(port), ca, JSON.stringify(requests)];
