/* What Parley adds to Chainlit's page, before that begins: one thing a file. */
import './page/copied.js';
import './page/earlier.js';
import './page/fetch.js';
import './page/footnotes.js';
import './page/mending.js';
import './page/pictures.js';
import './page/rename.js';
import './page/socket.js';
