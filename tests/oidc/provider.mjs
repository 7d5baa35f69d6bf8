// A certified OpenID Connect provider for the tests: anybody may sign in under any name.
// usage: node provider.mjs PORT REDIRECT_URI...
import Provider from 'oidc-provider';

const [port, ...redirectUris] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const claimsOf = (id) => ({
  sub: id,
  name: `${id[0].toUpperCase()}${id.slice(1)}`,
  email: `${id}@example.test`,
  email_verified: !id.startsWith('unverified'),
  groups: id.startsWith('staff') ? ['staff'] : ['others'],
});

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'parley',
      client_secret: 'a-secret-of-the-tests-0123456789',
      redirect_uris: redirectUris,
      post_logout_redirect_uris: redirectUris.map((uri) => new URL('/login', uri).href),
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
    },
  ],
  pkce: { required: () => true },
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'groups'],
    'inference-api': [],
  },
  scopes: ['openid', 'inference-api'],
  findAccount: (_, id) => ({ accountId: id, claims: () => claimsOf(id) }),
  features: { devInteractions: { enabled: true } },
  cookies: { keys: ['only-for-tests'] },
});

// As Hugging Face's begin, whose router takes no others.
const { generateTokenId } = provider.AccessToken.prototype;
provider.AccessToken.prototype.generateTokenId = function () {
  return `hf_oauth_${generateTokenId.call(this)}`;
};

provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
