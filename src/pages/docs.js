// Swagger UI over the API's document, in the reader's name.
import { askForKey } from './account.js';
import { apiKey, keyHeaders } from './key.js';

const probe = await fetch('openapi.json', { headers: keyHeaders() });
if (probe.status !== 401 || (await askForKey({ isUserAction: false }))) {
  Reflect.get(
    globalThis,
    'SwaggerUIBundle',
  )({
    url: 'openapi.json',
    dom_id: '#swagger-ui',
    validatorUrl: null,
    requestInterceptor(/** @type {{ headers: Record<string, string> }} */ request) {
      const key = apiKey();
      if (key !== undefined) request.headers['authorization'] ??= `Bearer ${key}`;
      return request;
    },
  });
}
