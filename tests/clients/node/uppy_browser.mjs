// Uppy with its tus plugin, for a page: bundled by the test that uses it.

import Uppy from "@uppy/core";
import Tus from "@uppy/tus";

globalThis.Uppy = Uppy;
globalThis.UppyTus = Tus;
