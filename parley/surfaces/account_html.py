"""Account, HTML: the few pages that are ours and not Chainlit's, all but without script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from starlette.responses import HTMLResponse, Response

from parley.chat.identities import ApiKey, SignIn

# Stricter than the chat's: nothing but our own style and pictures.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' https:; form-action 'self';"
    " base-uri 'none'; script-src {scripts}; frame-ancestors "
)
_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Parley</title>
<link rel="icon" href="/public/favicon.svg">
<link rel="stylesheet" href="/public/account.css">
</head>
<body><main>
<picture><source srcset="/public/logo_dark.svg" media="(prefers-color-scheme: dark)">\
<img class="logo" src="/public/logo_light.svg" alt="Parley"></picture>
{body}
</main></body>
</html>
"""


# Below the links that open a tab: by itself it is filled in by frame.js.
_CODE_FORM = """<form method="post" action="/login/framed" data-frame>
<p>The sign-in opens in a tab, and this page goes on afterwards. If it does not, enter the code
that the tab shows.</p>
<label>Code <input name="code" required maxlength="20" autocomplete="off" spellcheck="false"></label>
<button>Go on</button></form>"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title, and its body as HTML."""

    title: str
    body: str
    has_script: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What the account page shows; `new_key` is shown this once."""

    name: str
    detail: str
    picture: str
    keys: Sequence[ApiKey]
    sign_ins: Sequence[SignIn]
    current_sign_in_id: str | None
    may_administrate: bool
    new_key: str = ""
    message: str = ""


def page_response(page: Page, status: int = 200) -> Response:
    """Render a page; the policy is completed by hardening.py, which knows who may frame it."""
    body = page.body + ('<script src="/public/frame.js"></script>' if page.has_script else "")
    html = _DOCUMENT.format(title=escape(page.title), body=body)
    headers = {
        "cache-control": "no-store",
        "content-security-policy": POLICY.format(scripts="'self'" if page.has_script else "'none'"),
        # With none at all a form's Origin would be "null", as another site's may be.
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(html, status, headers)


def sign_in_page(
    ways: Mapping[str, str], *, message: str, guests_go_to: str, in_frame: bool
) -> Page:
    """Show the ways in, by their labels."""
    target = ' target="_blank" rel="opener"' if in_frame else ""
    links = "".join(
        f'<a class="way" href="{escape(url)}"{target}>Sign in with {escape(label)}</a>'
        for label, url in ways.items()
    )
    if guests_go_to:
        links += f'<a class="way quiet" href="{escape(guests_go_to)}">Go on as a guest</a>'
    if not links:
        links = "<p>People cannot sign in to this server: it is for programs, with API keys.</p>"
    by_code = _CODE_FORM if in_frame and ways else ""
    body = f"<h1>Sign in</h1>{_said(message)}<nav>{links}</nav>{by_code}"
    return Page("Sign in", body, has_script=in_frame)


def frame_page(code: str, back_to: str) -> Page:
    """Tell whoever signed in for a frame how it goes on there."""
    shown = f"{code[:5]}-{code[5:]}"
    return Page(
        "Signed in",
        "<h1>You are signed in</h1><p>Go back to the page that you came from: it goes on there."
        " If it asks for a code, this is it, for two minutes:</p>"
        f'<p class="message"><code data-frame-code="{code}">{shown}</code></p>'
        f'<nav><a class="way quiet" href="{escape(back_to)}">Or go on here</a></nav>',
        has_script=True,
    )


def leaving_page(goal: str) -> Page:
    """Lead on to where one signs out at the provider."""
    link = escape(goal)
    return Page(
        "Signed out",
        f'<meta http-equiv="refresh" content="0;url={link}"><h1>You are signed out here</h1>'
        f'<nav><a class="way" href="{link}">Sign out at the provider, too</a></nav>',
    )


def account_page(account: Account) -> Page:
    """Show who somebody is, their API keys, and where they are signed in."""
    picture = (
        f'<img class="face" src="{escape(account.picture)}" alt="">' if account.picture else ""
    )
    head = (
        f"<header>{picture}<div><h1>{escape(account.name)}</h1>"
        f"<p>{escape(account.detail)}</p></div></header>"
    )
    out = '<form method="post" action="/logout"><button>Sign out</button></form>'
    back = '<a href="/">Back to the chat</a>'
    signed_in = _sign_ins(account) + out if account.sign_ins else ""
    return Page("Account", head + _said(account.message) + _keys(account) + signed_in + back)


def _said(message: str) -> str:
    return f'<p class="message" role="alert">{escape(message)}</p>' if message else ""


def _keys(account: Account) -> str:
    rows = "".join(map(_key, account.keys)) or '<tr><td colspan="5">None yet.</td></tr>'
    new = ""
    if account.new_key:
        new = (
            '<p class="message" role="status">Copy the key now: it is not shown again.<br>'
            f'<code id="new-key">{escape(account.new_key)}</code></p>'
        )
    admin = ""
    if account.may_administrate:
        admin = '<label><input type="checkbox" name="scope" value="admin"> administrate</label>'
    return f"""<section><h2>API keys</h2>{new}
<table><thead><tr><th>Name</th><th>Key</th><th>May</th><th>Last used</th><th></th></tr></thead>
<tbody>{rows}</tbody></table>
<form method="post" action="/account/keys">
<label>Name <input name="name" required maxlength="100"></label>
<label>Days it lasts <input name="days" type="number" min="1" max="3650" value="90"></label>
<fieldset><legend>It may</legend>
<label><input type="checkbox" name="scope" value="read" checked> read</label>
<label><input type="checkbox" name="scope" value="chat" checked> chat</label>
{admin}</fieldset>
<button>Make a key</button></form></section>"""


def _key(key: ApiKey) -> str:
    if key.revoked_at:
        end = f"revoked {_day(key.revoked_at)}"
    else:
        end = (
            f'<form method="post" action="/account/keys/{key.id}/revoke">'
            f'<button aria-label="Revoke {escape(key.name)}">Revoke</button></form>'
        )
    lasts = f" until {_day(key.expires_at)}" if key.expires_at else ""
    used = _day(key.used_at) if key.used_at else "never"
    return (
        f"<tr><td>{escape(key.name)}</td><td><code>{escape(key.hint)}…</code></td>"
        f"<td>{escape(', '.join(key.scopes))}{lasts}</td><td>{used}</td><td>{end}</td></tr>"
    )


def _sign_ins(account: Account) -> str:
    rows = "".join(_sign_in(one, account.current_sign_in_id) for one in account.sign_ins)
    return f"""<section><h2>Signed in</h2>
<table><thead><tr><th>With</th><th>Since</th><th>Last seen</th><th></th></tr></thead>
<tbody>{rows}</tbody></table>
<form method="post" action="/account/sign-out-everywhere">
<button>Sign out everywhere</button></form></section>"""


def _sign_in(one: SignIn, current_id: str | None) -> str:
    end = (
        "this browser"
        if one.id == current_id
        else f'<form method="post" action="/account/sign-ins/{one.id}/end"><button>End</button></form>'
    )
    return (
        f"<tr><td>{escape(one.provider)}</td><td>{_day(one.created_at)}</td>"
        f"<td>{one.seen_at:%Y-%m-%d %H:%M} UTC</td><td>{end}</td></tr>"
    )


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
