use mica_host::*; use mica_vfs::*;
fn main(){
 let d=std::env::args().nth(1).unwrap();
 let fds=FdCache::new(1000);
 let fs=HostFs::new(open_layer(d.as_ref(),LayerAccess::ReadWrite).unwrap(),LayerAccess::ReadWrite,fds.clone()).unwrap();
 let n=|s:&'static str|FileName::new(s.as_bytes()).unwrap();
 let me=Caller{uid:0,gid:0,umask:0o022};
 let sub=fs.mkdir(&me,NodeId::ROOT,n("sub"),Mode::new(0o755)).unwrap().node;
 let f=fs.create(&me,sub,n("f"),Mode::new(0o644)).unwrap().node; fs.write(f,0,&[1;1000],KillPriv::Keep).unwrap();
 let g=fs.symlink(&me,sub,n("g"),b"f").unwrap().node;
 let mark=|s:&str|{ rustix::fs::access(s,rustix::fs::Access::EXISTS).ok(); };
 mark("/MARK-lookup"); fs.lookup(sub,n("f")).unwrap();
 mark("/MARK-lookup-enoent"); fs.lookup(sub,n("nope")).err();
 mark("/MARK-getattr-fd"); fs.get_attr(f).unwrap();
 mark("/MARK-getattr-name"); fs.get_attr(g).unwrap();
 mark("/MARK-read"); fs.read(f,0,&mut[0;4096]).unwrap();
 mark("/MARK-write"); fs.write(f,0,&[1;4096],KillPriv::Keep).unwrap();
 mark("/MARK-getxattr-name"); fs.get_xattr(g,XattrName::new(b"trusted.a").unwrap(),&mut[]).err();
 mark("/MARK-create"); fs.create(&me,sub,n("h"),Mode::new(0o644)).unwrap();
 mark("/MARK-create-as"); let c=fs.create(&Caller{uid:1000,gid:1000,umask:0o22},sub,n("i"),Mode::new(0o644)).unwrap();
 mark("/MARK-mkdir"); fs.mkdir(&me,sub,n("j"),Mode::new(0o644)).unwrap();
 mark("/MARK-unlink"); fs.unlink(sub,n("i")).unwrap();
 mark("/MARK-forget"); fs.forget(c.node,1);
 mark("/MARK-rename"); fs.rename(sub,n("h"),NodeId::ROOT,n("h"),RenameFlags::empty()).unwrap();
 mark("/MARK-chmod-symlink-times"); fs.set_attr(g,&SetAttr{mtime:Some(SetTime::Now),..Default::default()}).unwrap();
 mark("/MARK-readdir"); fs.read_dir(sub,Cookie::START,&mut|_|Flow::Continue).unwrap();
 mark("/MARK-end");
 for _ in 0..2_000_000{ fs.lookup(sub,n("f")).unwrap(); } }
