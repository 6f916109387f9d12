"""Labels given by people, image by image, on a page of this machine.

What is asked and what was answered is a file of lines an annotator (`answers`, `session`); what
several say is brought together in tables (`merge`). The page (`server`, `page.html`) is shown in a
browser, or in a notebook by `widget`. This room knows folders of images and tables of labels; it
must not know losses, networks or runs. It writes into the folder's `annotations/` alone.
"""

from maclcore.extras import need

need("train", __name__)
