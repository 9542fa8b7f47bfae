const authority = /^https?:\/\/[^/?#]*/i;
const unreserved = /^[A-Za-z0-9\-._~]$/;

/**
 * A request's target as `/path?query`: without the authority that a client may send (RFC 9112, section 3.2.2), and with `%31`
 * as `1` (RFC 3986, section 6.2.2.2). The path tells in whose words an error is written: it must have one form.
 */
export function originForm(target: string): string {
  // Almost every target: nothing would be replaced in it.
  if (target.startsWith('/') && !target.includes('%')) return target;
  const rest = target.replace(authority, '');
  const path = rest === target || rest.startsWith('/') ? rest : `/${rest}`;
  return path.replace(/%[0-9a-f]{2}/gi, (escaped) => {
    const character = String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
    return unreserved.test(character) ? character : escaped;
  });
}
