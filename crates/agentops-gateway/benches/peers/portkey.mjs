// Portkey 1.15.2 changes the head of every answer that it streams, and the answers of Node's own `fetch` do not allow that:
// without this it would answer each stream with an error and could not be compared.
const original = globalThis.fetch;
globalThis.fetch = async (...request) => {
    const { body, status, statusText, headers } = await original(...request);
    return new Response(body, { status, statusText, headers: new Headers(headers) });
};
